"""The state of a training that was cut off, so that it goes on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from introspection.files import whole


class Checkpoint:
    """One file in a folder, named after the training and a hash of all that determines it (torch included)."""

    def __init__(self, folder: Path, name: str, determined_by: Iterable[str]) -> None:
        parts = "\0".join([*determined_by, torch.__version__])
        self.path = folder / f"{name}-{hashlib.sha256(parts.encode()).hexdigest()[:16]}.pt"

    def load(self) -> dict[str, Any] | None:
        """What was saved last, or None where the training begins."""
        return torch.load(self.path, weights_only=True) if self.path.exists() else None

    def save(self, state: dict[str, Any]) -> None:
        """Replace what was saved; the file is whole at any time."""
        with whole(self.path) as unfinished:
            torch.save(state, unfinished)

    def delete(self) -> None:
        """The training is done, and another one begins anew."""
        self.path.unlink(missing_ok=True)


def code_beside(module: str) -> list[str]:
    """The text of the modules in the folder of a module's file, which determine what a training in them does."""
    return [path.read_text(encoding="utf-8") for path in sorted(Path(module).parent.glob("*.py"))]


def checksums(folder: Path) -> list[str]:
    """The checksum of each file of a folder, sorted by name."""
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir()) if path.is_file()]
