"""What the report says of the pipeline: which stage writes which file, and the hashes that dvc.lock records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

Items = Iterable[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """Where numbers come from: a file, the stage that writes it, and the md5 of its bytes, as dvc.lock has it."""

    path: str
    stage: str
    md5: str


def output_stages(pipeline: Mapping[str, Any], lists: Mapping[str, Items]) -> dict[str, str]:
    """By output path, the stage that writes it, from the content of dvc.yaml.

    lists: the items of each `foreach: ${name}` or list of a `matrix` by that name, `study.models` for one. Names of
    other parameters in output paths are left as they stand.
    """
    stages: dict[str, str] = {}
    for name, stage in pipeline.get("stages", {}).items():
        if "foreach" in stage or "matrix" in stage:
            for key, words in _members(stage, lists):
                for output in _outputs(stage.get("do", stage)):
                    stages[_filled(output, words)] = f"{name}@{key}"
        else:
            stages.update(dict.fromkeys(_outputs(stage), name))
    return stages


def _members(stage: Mapping[str, Any], lists: Mapping[str, Items]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a stage is run for: of each, what DVC calls it, and the words that stand for it in the stage."""

    def items_of(over: Any) -> Items:
        return lists.get(over.strip("${}"), ()) if isinstance(over, str) else over

    if "matrix" in stage:
        for values in product(*map(items_of, stage["matrix"].values())):
            words = {f"item.{axis}": value for axis, value in zip(stage["matrix"], values, strict=True)}
            yield "-".join(map(str, values)), words
        return
    items = items_of(stage["foreach"])
    for key, item in items.items() if isinstance(items, Mapping) else [(item, item) for item in items]:
        yield str(key), {"item": item, "key": key} | _leaves(item, "item")


def _filled(path: str, words: Mapping[str, Any]) -> str:
    """A path with the names that are known put in."""
    for name, value in words.items():
        path = path.replace(f"${{{name}}}", str(value))
    return path


def _leaves(item: Any, name: str) -> dict[str, Any]:
    """The fields of a `foreach` item by the names that dvc.yaml gives them: `item.file`."""
    return {f"{name}.{key}": value for key, value in item.items()} if isinstance(item, Mapping) else {}


def _outputs(stage: Mapping[str, Any]) -> list[str]:
    """The paths of a stage's outs, metrics and plots; each is a path or a mapping from the path to its settings."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, ())]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def hash_of(path: Path) -> str:
    """The hash that dvc.lock records for a file or folder: of a folder, the md5 of its listing, ending in `.dir`."""
    if path.is_file():
        return _md5(path.read_bytes())
    files = (file for file in path.rglob("*") if file.is_file())
    listing = [{"md5": _md5(file.read_bytes()), "relpath": file.relative_to(path).as_posix()} for file in files]
    listing.sort(key=lambda entry: entry["relpath"])
    return _md5(json.dumps(listing, sort_keys=True).encode()) + ".dir"


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
