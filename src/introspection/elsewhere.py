"""Results of a model that was run elsewhere: checked as this project's own are, and taken over."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from introspection.experiments.declared import measured
from introspection.experiments.detection.tables import DETECTION
from introspection.files import ResultError, read_json, whole

MODEL = "model.json"
NEEDED = (MODEL, "injection/questions.json", DETECTION.name)
"""What the report says of every model: what it is, where and how strongly it was injected, what it answered."""


def take_over(folder: Path, output: Path, place: str, prompts: Collection[str]) -> None:
    """Copy the result files of a model to `output`, whole or not at all.

    folder: results/KEY of the project in which it was run. Control vectors, which no report reads, stay there.
    place: the model's source, as `models` in params.yaml has it. prompts: those of the study.
    Raises ResultError for a file that is missing, that no experiment declares or that is not as declared, for another
    model, and for a detection that was asked with other prompts.
    """
    for name in NEEDED:
        if not (folder / name).is_file():
            raise ResultError(f"{folder / name}: is missing; give the whole folder results/KEY of the run")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".gguf"]
    for path in files:
        _check(path)
    found = read_json(folder / MODEL, dict[str, Any]).get("source")
    if found != place:
        raise ResultError(f"{folder / MODEL}: is of {found!r}, where models in params.yaml has {place!r}")
    asked = set(DETECTION.read(folder / DETECTION.name)["prompt"])
    if asked != set(prompts):
        other = ", ".join(sorted(asked ^ set(prompts)))
        raise ResultError(f"{folder / DETECTION.name}: asked with other prompts than this study has: {other}")
    with whole(output) as unfinished:
        for path in files:
            copy = unfinished / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def _check(path: Path) -> None:
    if path.suffix == ".json":
        read_json(path, object)
    elif path.name in measured():
        measured()[path.name][1].read(path)
    else:
        raise ResultError(f"{path}: no experiment declares such a file; leave it out, or add the experiment")
