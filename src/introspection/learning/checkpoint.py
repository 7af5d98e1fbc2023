"""The state of a training that was cut off, so that it goes on where it was."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor
from tqdm import tqdm

from introspection.files import read_sealed, write_sealed

_STRUCTURE = "structure"


class Checkpoint:
    """One file in a folder, named after the training and a hash of all that determines it (torch included).

    It holds tensors and what they are part of: dicts, lists, tuples, numbers and texts, as JSON and no pickle.
    """

    def __init__(self, folder: Path, name: str, determined_by: Iterable[str]) -> None:
        parts = "\0".join([*determined_by, torch.__version__])
        self.path = folder / f"{name}-{hashlib.sha256(parts.encode()).hexdigest()[:16]}.state"

    def load(self) -> dict[str, Any] | None:
        """What was saved last, or None where the training begins: anew where the file is damaged, which is said."""
        kept = read_sealed(self.path)
        if kept is None:
            if self.path.exists():
                tqdm.write(f"{self.path}: damaged, so this training begins anew", sys.stderr)
            return None
        tensors = load(kept)
        structure = json.loads(tensors.pop(_STRUCTURE).numpy().tobytes())
        state: dict[str, Any] = _put_together(structure, tensors)
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace what was saved; the file is whole at any time."""
        tensors: dict[str, Tensor] = {}
        structure = json.dumps(_taken_apart(state, tensors)).encode()
        tensors[_STRUCTURE] = torch.frombuffer(bytearray(structure), dtype=torch.uint8)
        write_sealed(self.path, save(tensors))

    def delete(self) -> None:
        """The training is done, and another one begins anew."""
        self.path.unlink(missing_ok=True)


def _taken_apart(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON, in which a tensor is its name in `tensors`, where it is put; keys may be numbers."""
    match value:
        case Tensor():
            name = str(len(tensors))
            tensors[name] = value.detach().clone(memory_format=torch.contiguous_format)  # weights may be tied
            return {"tensor": name}
        case dict():
            return {"dict": [[key, _taken_apart(each, tensors)] for key, each in value.items()]}
        case list() | tuple():
            return {"list" if isinstance(value, list) else "tuple": [_taken_apart(each, tensors) for each in value]}
        case _:
            return value


def _put_together(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, parts),) = value.items()
    if kind == "tensor":
        return tensors[parts]
    if kind == "dict":
        return {key: _put_together(each, tensors) for key, each in parts}
    return {"list": list, "tuple": tuple}[kind](_put_together(each, tensors) for each in parts)


def code_beside(module: str) -> list[str]:
    """The text of the modules in the folder of a module's file, which determine what a training in them does."""
    return [path.read_text(encoding="utf-8") for path in sorted(Path(module).parent.glob("*.py"))]


def checksums(folder: Path) -> list[str]:
    """The checksum of each file of a folder, sorted by name."""
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir()) if path.is_file()]
