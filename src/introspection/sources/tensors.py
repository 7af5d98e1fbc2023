"""Tensors in safetensors files that stages leave for each other: a broken one is told in a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from introspection.files import ResultError


@contextmanager
def explained_tensors(path: Path, stage: str) -> Iterator[None]:
    """Where reading a file fails inside the context, raise ResultError: the file, what is wrong, what makes it."""
    remedy = f"make it with `dvc repro --force --single-item {stage}@{path.stem}`"
    try:
        yield
    except OSError as error:
        raise ResultError(f"{path}: cannot be read ({error.strerror or error}); {remedy}") from error
    except (SafetensorError, ValueError, TypeError, LookupError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ResultError(f"{path}: not what the stage {stage!r} writes ({reason}); {remedy}") from error
