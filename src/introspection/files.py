"""Files that are whole or not there: text, JSON, tables and folders appear at once when they are finished."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML

RESULTS = Path("results")
PROMPTS = Path("data/prompts")
SUFFIXES = Path("data/raw/suffixes.json")  # what the stage `download` brings
PREFILLS = Path("build/finetune_turn_1")  # large, and soon made again: no result
STATES = Path("build/steps")  # of adapters on the way to the end of their training, in a folder for each training
LONGEST = 10_000  # characters of a text that a model reads: the memory for it grows with their square

T = TypeVar("T")


def state_name(step: int) -> str:
    """The folder, in that of its training, of an adapter after a step."""
    return f"step-{step}"


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


def write_sealed(path: Path, content: bytes) -> None:
    """A file that begins with the checksum of the rest, for unfinished work that a later run goes on from."""
    with whole(path) as unfinished:
        unfinished.write_bytes(hashlib.sha256(content).digest() + content)


def read_sealed(path: Path) -> bytes | None:
    """What `write_sealed` wrote; None where there is no file, or one that is damaged: that work is done again."""
    try:
        sealed = path.read_bytes()
    except FileNotFoundError:
        return None
    seal, content = sealed[:32], sealed[32:]
    return content if hashlib.sha256(content).digest() == seal else None


def write_json(path: Path, value: Any) -> None:
    """JSON with sorted keys; raises ValueError for numbers that are not finite."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, form: type[T], remedy: str = "") -> T:
    """A JSON file as a value of a type (a dataclass, say). Raises ResultError where it is missing or another thing.

    NaN and infinity are no JSON, and no number of a result.
    """
    remedy = remedy and f"; {remedy}"
    try:
        content = json.loads(path.read_bytes(), parse_float=_finite, parse_constant=_finite)
        return TypeAdapter(form).validate_python(content)
    except OSError as error:
        raise ResultError(f"{path}: cannot be read ({error.strerror}){remedy}") from error
    except ValidationError as error:
        raise ResultError(f"{path}: {_first(error)}{remedy}") from error
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{path}: not valid JSON: {error}{remedy}") from error


def _finite(number: str) -> float:
    """What a number of a JSON file stands for."""
    if not math.isfinite(value := float(number)):
        raise ValueError(f"{number[:40]} is no finite number")
    return value


def read_yaml(path: Path, form: type[T], failure: type[ValueError]) -> T:
    """A YAML file that ships with the repository, as a value of a type. Raises `failure` as `read_json` ResultError."""
    content = load_yaml(path, failure, "it ships with the repository")
    try:
        return TypeAdapter(form).validate_python(content)
    except ValidationError as error:
        raise failure(f"{path}: {_first(error)}") from error


def load_yaml(path: Path, failure: type[ValueError], remedy: str = "") -> Any:
    """What a YAML file holds. Raises `failure`, in one line, where it is missing, no YAML, or too large to be one.

    A few lines of YAML can name each other so that they stand for billions: what they stand for is counted.
    """
    try:
        if (size := path.stat().st_size) > _LARGEST_YAML:
            raise failure(f"{path}: {size} bytes are too many; at most {_LARGEST_YAML} are read")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise failure(f"{path}: cannot be read ({error.strerror}){remedy and f'; {remedy}'}") from error
    except UnicodeDecodeError as error:
        raise failure(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    try:
        content = YAML(typ="safe", pure=True).load(text)  # libyaml's parser crashes where brackets are nested deeply
        count = _count(content, {})
    except Exception as error:  # the parser raises what the text leads it to
        raise failure(f"{path}: not valid YAML: {' '.join(str(error).split())[:300]}") from error
    if count > _MOST_VALUES:
        raise failure(f"{path}: its aliases stand for more than {_MOST_VALUES} values; write out what is meant")
    return content


_LARGEST_YAML = 2**20  # bytes
_MOST_VALUES = 10**6


def _count(value: Any, counted: dict[int, float]) -> float:
    """How many values a value holds with itself, aliases as often as they stand; inf where it holds itself."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in counted:
        counted[id(value)] = math.inf  # until it is known
        parts = value if isinstance(value, list) else [*value, *value.values()]
        counted[id(value)] = 1 + sum(_count(part, counted) for part in parts)
    return counted[id(value)]


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, with its key."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    return f"{key + ': ' if key else ''}{first['msg'].removeprefix('Value error, ')}"
