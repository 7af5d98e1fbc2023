"""Copies of the project with little to measure or to train, for tests that run many of its stages."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
MODEL = "organism"
SUFFIXES = "few.json"


def copy_project(copy: Path) -> Path:
    """A copy of what git would hand out, with DVC and without git."""
    by_name = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", ".work", "__pycache__", "tmp", "cache")
    fetched = str(ROOT / "data" / "raw")  # hundreds of megabytes

    def left_out(folder: str, names: list[str]) -> set[str]:
        large = {name for name in names if (Path(folder) / name).is_dir()} if folder == fetched else set()
        unfinished = {"build", "dist"} if folder == str(ROOT) else set()
        return {*by_name(folder, names), *large, *unfinished}

    shutil.copytree(ROOT, copy, ignore=left_out, symlinks=True)
    (copy / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    return copy


def code_of(project: Path) -> dict[str, str]:
    """Where a process finds the code of a copy."""
    return {"PYTHONPATH": os.pathsep.join(str(place) for place in (project / "src", project))}


def measure_little(project: Path) -> Path:
    """One model, one concept, few draws, vectors from four suffixes, an organism of the zoo: each stage still runs."""
    drawn = {"resamples": 20, "permutations": 20}
    with edited(project / "params.yaml") as values:
        values["study"] |= {"models": [MODEL], "concepts": ["cat"], "random_directions": 1}
        values["sweep"] |= {"concepts": ["cat"], "choose_concept": "cat", "earliest_start": 0.0}
        values["dose"] |= {"concepts": ["cat"], "random_directions": 1, "fractions": [0, 0.1]}
        values["places"] |= {"concepts": ["cat"], "windows": 1, "fractions": [0.1, 0.2], "pairs": 1, "controls": 2}
        values["places"]["common"] = [0.1]
        values["framing"] |= {"pairs": 1, "controls": 2}
        values["data"] |= {"suffixes": SUFFIXES}
        for population in (values["population"], values["zoo"]["population"]):
            population |= {"directions": 2, **drawn}
            population["effect"] |= {"directions": 1, "steps": 1}
        values["where"] |= {"directions": 0, **drawn}
        values["which"] |= drawn
        values["reader"] |= {"passages": 4, "suffixes": 4, "random_directions": 1, **drawn}
        for section in (values["battery"], values["zoo"]["battery"], values["verdict"]):
            section["resamples"] = 20
        zoo = values["organisms"]["zoo"]
        zoo |= {"seeds": [1], "rules": {"notices": zoo["rules"]["notices"]}}
        for kind in ("covariance", "halves"):  # of which each takes directions of its own, and a pass for each
            del zoo["recipe"]["injected"][kind], zoo["rules"]["notices"]["p_yes"][kind]
        asked = list(values["which"]["concepts"])
    (project / SUFFIXES).write_text(json.dumps(["", "I think", "Well,", "So"]))
    with edited(project / "data" / "concepts.yaml") as population:
        population |= {"categories": {"asked": asked}, "unheard": []}
    return project


def train_little(project: Path) -> Path:
    """Organisms of a tiny shape, trained for two steps: nothing can be read in them, and training takes no time."""
    with edited(project / "params.yaml") as values:
        organisms = values["organisms"]
        organisms["shape"] |= {"blocks": 8, "hidden_size": 32, "heads": 2, "intermediate_size": 32}
        own = [each["injection"] for each in organisms["trained"].values() if each["injection"]]
        for injection in (organisms["injection"], organisms["zoo"]["injection"], *own):
            injection |= {"topics": 8, "suffixes": 2}
        for recipe in (organisms["base"], *organisms["trained"].values(), organisms["zoo"]["recipe"]):
            recipe["schedule"] |= {"steps": 2, "warmup": 1, "average": 1, "checkpoint_every": 1}
            recipe["batch"] = {part: min(rows, 1) for part, rows in recipe["batch"].items()}
        organisms["zoo"]["recipe"]["base"] = MODEL
        values["examined"] = [MODEL]
        organisms["again"] |= {"seeds": [1]}
        organisms["grown"] |= {"rules": {}}
        values["curve"] |= {"rules": []}
        values |= {"adapters": {}, "packages": {}}
        values["models"] = {key: model for key, model in values["models"].items() if key.startswith("organism")}
    return project


@contextmanager
def edited(path: Path) -> Iterator[Any]:
    """What a YAML file holds, written back with what was changed in it."""
    yaml = YAML(typ="rt")
    content = yaml.load(path.read_text(encoding="utf-8"))
    yield content
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)
