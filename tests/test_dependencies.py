"""What every stage of dvc.yaml declares, held against what its script imports and reads, in both directions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.dependencies import PIPELINE, STAGES, command, declared, imported
from tests.processes import run_script
from tests.small_study import MODEL, SUFFIXES, measure_little, train_little

# Of the zoo, and of the whole organisms; none is grown on a real model.
OWN_WORK = ("train-again", "examine", "examine-trained", "beyond-trained")  # read again what they have made in build
MEMBER = {"${item.rule}": "notices", "${item.seed}": "1", "${item.organism}": MODEL}
EACH: dict[str, dict[str, dict[str, str]]] = {
    "${study.models}": {MODEL: {}},
    "${organisms.trained}": {"organism": {"base": "organism-base"}, "organism-insecure": {"base": "organism"}},
    "${organisms.again.seeds}": {"1": {}},
}
"""For what a stage is run here, with what an item says of it; of others (a real model, a network) nothing is run."""
WORDS = {"${organisms.again.organism}": "organism", "${organisms.zoo.recipe.base}": "organism"}

NO_DEPENDENCY = ("params.yaml", "stages/common.py", "dvc.yaml")
"""params.yaml is tracked key by key; common.py validates and reports around a stage; of dvc.yaml the report reads which
stage makes which file."""

ORDER = "data/checked.txt"
"""What the stage `check` writes and nothing reads: it lets a stage come after that one."""

GROWN = "results/grown"
"""What the stages of organisms on a real model write, none of which is run here."""

PINNED = "models/"
"""What a model is made of: model.json has its checksums, and every stage that loads it depends on that. The parameters'
validation looks at the configuration of each."""

CHANGES_NO_NUMBER = ("engine.", "models.", "study.models")
"""The size of a batch; how a model is loaded, which model.json pins; and which models there are, a stage for each."""


@pytest.mark.parametrize("name", STAGES)
def test_code_is_declared_as_it_is_imported(name: str) -> None:
    assert declared(STAGES[name], code=True) == imported(name)


@pytest.fixture(scope="module")
def small(project: Path) -> Path:
    """The project with little to measure and to train."""
    return train_little(measure_little(project))


def traced(project: Path, runs: list[list[str]]) -> list[dict[str, list[str]]]:
    """What each run reads, a stage's script and arguments each, in their order."""
    asked, records = project / "runs.json", project / "records.json"
    asked.write_text(json.dumps(runs))
    done = run_script(project, ROOT / "tests" / "trace.py", str(asked), str(records), code=project)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(records.read_text())


def within(path: str, folders: set[str]) -> bool:
    return any(PurePosixPath(path).is_relative_to(folder) for folder in folders)


@dataclass(frozen=True)
class Run:
    """A stage of dvc.yaml as it is run for one model or one item: the words that stand for that in the stage."""

    name: str
    stage: dict[str, Any]
    words: dict[str, str]

    def filled(self, text: object) -> str:
        for word, value in self.words.items():
            text = str(text).replace(word, value)
        return str(text)


def runs() -> list[Run]:
    """Every stage, in the order of dvc.yaml, each reading what those before it wrote."""
    found = []
    for name, stage in STAGES.items():
        each = {} if name.endswith("-grown") else PIPELINE[name].get("foreach", {"": {}})
        for key, item in (EACH.get(each, {}) if isinstance(each, str) else each).items():
            words = {"${item}": key, "${key}": key, **{f"${{item.{word}}}": value for word, value in item.items()}}
            found.append(Run(name, stage, WORDS | words | (MEMBER if "matrix" in stage else {})))
    return found


def test_files_and_parameters_are_declared_as_they_are_read(small: Path) -> None:
    wrong: list[str] = []
    every = runs()
    records = traced(small, [[run.filled(word) for word in command(run.stage)] for run in every])
    for run, read in zip(every, records, strict=True):
        name, stage = run.name, run.stage
        outputs = {run.filled(next(iter(out)) if isinstance(out, dict) else out) for out in outputs_of(stage)}
        data = {run.filled(path) for path in declared(stage, code=False)} - {*NO_DEPENDENCY, ORDER, GROWN}
        files = {
            path
            for path in read["files"]
            if not path.startswith(("src/", "stages/", "tests/", PINNED, "."))
            and path not in NO_DEPENDENCY
            and not path.endswith((".part", ".unfinished"))  # what is not whole yet
            and not (name in OWN_WORK and path.startswith("build/"))  # what it has made on the way
        }
        # a path of the user's own is no dependency: the README says so
        wrong += [f"{name} reads {path}" for path in sorted(files - {SUFFIXES}) if not within(path, data | outputs)]
        wrong += [f"{name} declares {path}" for path in sorted(data) if unread(path, files, SUFFIXES in files)]
        params = {run.filled(each) for each in stage.get("params", ())}
        params -= {"data.source"} if SUFFIXES in files else set()  # a path of the user's own wins over it
        tracked = [each for each in read["keys"] if not each.startswith(CHANGES_NO_NUMBER)]
        wrong += [f"{name} reads the key {each}" for each in tracked if not covered(each, params)]
        wrong += [
            f"{name} declares the key {each}"
            for each in sorted(params)
            if not is_read(each, [*read["keys"], *read["sections"]])
        ]
    assert not wrong, "\n".join(wrong)


def outputs_of(stage: dict[str, Any]) -> list[Any]:
    return [*stage.get("outs", ()), *stage.get("metrics", ())]


def unread(path: str, files: set[str], own: bool) -> bool:
    """Whether nothing of a dependency was read; in place of what ships with the repository stands the user's own."""
    if path.endswith(".safetensors") or f"{path}/".startswith(
        PINNED
    ):  # read by a library that opens files out of sight
        return False
    return not any(within(file, {path}) for file in files) and not (own and path.startswith("data/builtin/"))


def covered(key: str, params: set[str]) -> bool:
    return any(key == each or key.startswith(f"{each}.") for each in params)


def is_read(param: str, keys: list[str]) -> bool:
    return any(key == param or key.startswith(f"{param}.") or param.startswith(f"{key}.") for key in keys)
