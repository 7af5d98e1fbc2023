"""What the report says of the pipeline: which stage writes which file, and the hashes that dvc.lock records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def output_stages(pipeline: Mapping[str, Any], lists: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """By output path, the stage that writes it, from the content of dvc.yaml.

    lists: the items of each `foreach: ${name}` by that name, `study.models` for one.
    """
    stages: dict[str, str] = {}
    for name, stage in pipeline.get("stages", {}).items():
        if "foreach" not in stage:
            stages.update(dict.fromkeys(_outputs(stage), name))
            continue
        over = stage["foreach"]
        for item in lists.get(over.strip("${}"), ()) if isinstance(over, str) else over:
            for output in _outputs(stage["do"]):
                stages[output.replace("${item}", str(item))] = f"{name}@{item}"
    return stages


def _outputs(stage: Mapping[str, Any]) -> list[str]:
    """The paths of a stage's outs, metrics and plots; each is a path or a mapping from the path to its settings."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, ())]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def hash_of(path: Path) -> str:
    """The hash that dvc.lock records for a file or folder: of a folder, the md5 of its listing, ending in `.dir`."""
    if path.is_file():
        return _md5(path.read_bytes())
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listing = [{"md5": _md5(file.read_bytes()), "relpath": file.relative_to(path).as_posix()} for file in files]
    listing.sort(key=lambda entry: entry["relpath"].split("/"))
    return _md5(json.dumps(listing, sort_keys=True).encode()) + ".dir"


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
