"""Files that are whole or not there: text, JSON, tables and folders appear at once when they are finished."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

RESULTS = Path("results")
PREFILLS = Path("build/finetune_turn_1")  # large, and soon made again: no result

T = TypeVar("T")


class ResultError(ValueError):
    """A result file is missing or broken; the message names the file, what is wrong and what makes it anew."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write a file or a folder to, which becomes `path` when the context ends, and vanishes on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    remove(unfinished)
    try:
        yield unfinished
        if path.is_dir():
            shutil.rmtree(path)
        unfinished.replace(path)
    finally:
        remove(unfinished)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8."""
    with whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """JSON with sorted keys; raises ValueError for numbers that are not finite."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, form: type[T], remedy: str = "") -> T:
    """A JSON file as a value of a type (a dataclass, say). Raises ResultError where it is missing or another thing."""
    try:
        return TypeAdapter(form).validate_json(path.read_bytes())
    except OSError as error:
        raise ResultError(f"{path}: cannot be read ({error.strerror}){remedy and f'; {remedy}'}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ResultError(f"{path}: {key + ': ' if key else ''}{first['msg']}{remedy and f'; {remedy}'}") from error
