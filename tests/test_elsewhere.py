"""Results of a model that was run elsewhere are shown as those that were measured here, or refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from introspection.settings import SettingsError, load_settings
from tests.conftest import ROOT
from tests.processes import run_script
from tests.small_study import code_of, edited

KEY = "organism-blind"
AWAY = "away"
OTHERWISE = {
    "PYTHONHASHSEED": "1",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "TZ": "Asia/Kathmandu",
    "COLUMNS": "20",
    "TERM": "dumb",
}


def run(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return run_script(project, *command, code=project)


def shown(project: Path) -> dict[str, str]:
    """What the paper's tables and values say."""
    assert (done := run(project, "stages/tables.py")).returncode == 0, done.stderr
    return tables(project)


def tables(project: Path) -> dict[str, str]:
    """The files of the paper's tables."""
    return {path.name: path.read_bytes().decode() for path in (project / "paper" / "tables").iterdir()}


def run_here(project: Path, models: list[str], elsewhere: dict[str, str]) -> None:
    with edited(project / "params.yaml") as values:
        values["study"]["models"] = models
        values["elsewhere"] = elsewhere


@pytest.fixture(scope="module")
def away(project: Path) -> Path:
    """A project that has run one model, and been given the results of another.

    Both were measured here first, and shown where all that is no input is otherwise: that changes no byte.
    """
    run_here(project, ["organism", KEY], {})
    environment = os.environ | code_of(project) | OTHERWISE
    subprocess.run([sys.executable, "stages/tables.py"], cwd=project, env=environment, check=True)
    (project / "measured-here.json").write_text(json.dumps(tables(project)))
    shutil.move(project / "results" / KEY, project / AWAY)
    run_here(project, ["organism"], {KEY: AWAY})
    return project


def test_they_are_shown_as_what_is_measured_here(away: Path) -> None:
    assert (done := run(away, "stages/elsewhere.py", KEY)).returncode == 0, done.stderr
    taken = {path.relative_to(away / AWAY) for path in (away / AWAY).rglob("*") if path.is_file()}
    taken = {path for path in taken if path.suffix != ".gguf"}
    assert all((away / "results" / KEY / path).read_bytes() == (away / AWAY / path).read_bytes() for path in taken)
    before, now = json.loads((away / "measured-here.json").read_text()), shown(away)
    assert set(before) == set(now)
    for name, text in now.items():
        here = [line for line in before[name].splitlines() if f"@{KEY}" not in line]
        assert [line for line in text.splitlines() if f"@{KEY}" not in line] == here, name
    sources = "".join(now.values())
    assert f"elsewhere@{KEY}" in sources and f"detection@{KEY}" not in sources
    for stage in ("figures.py", "companion.py"):
        assert (done := run(away, f"stages/{stage}")).returncode == 0, done.stderr
    assert (away / "paper" / "build" / "companion" / KEY / "detection.html").is_file()


def test_what_was_not_run_there_is_not_expected(away: Path) -> None:
    whole = away / AWAY
    kept = (whole / "reader.csv").read_bytes(), (whole / "reader_summary.csv").read_bytes()
    (whole / "reader.csv").unlink()
    (whole / "reader_summary.csv").unlink()
    try:
        assert (done := run(away, "stages/elsewhere.py", KEY)).returncode == 0, done.stderr
        assert shown(away)
    finally:
        (whole / "reader.csv").write_bytes(kept[0])
        (whole / "reader_summary.csv").write_bytes(kept[1])


def broken(folder: Path, fault: str) -> str:
    """Break the results in one way. Returns what is to be said of it."""
    if fault == "missing":
        (folder / "model.json").unlink()
        return "model.json: is missing; give the whole folder"
    if fault == "not a number":
        text = (folder / "detection.csv").read_text()
        (folder / "detection.csv").write_text(text.replace("0.", "nan", 1).replace("nan", "nan,", 1))
        return "detection.csv"
    if fault == "unknown":
        (folder / "notes.csv").write_text("a,b\n1,2\n")
        return "notes.csv: no experiment declares such a file"
    if fault == "another model":
        content = json.loads((folder / "model.json").read_text()) | {"source": "some/model"}
        (folder / "model.json").write_text(json.dumps(content))
        return "is of 'some/model', where models in params.yaml has 'models/organism-blind'"
    table = pd.read_csv(folder / "detection.csv", dtype=str, keep_default_na=False)
    table["prompt"] = table["prompt"].replace("lorem_ipsum", "psalm")
    table.to_csv(folder / "detection.csv", index=False)
    return "asked with other prompts than this study has: lorem_ipsum, psalm"


@pytest.mark.parametrize("fault", ["missing", "not a number", "unknown", "another model", "other prompts"])
def test_what_is_not_as_declared_is_refused_and_leaves_nothing(away: Path, tmp_path: Path, fault: str) -> None:
    shutil.copytree(away / AWAY, tmp_path / AWAY)
    said = broken(tmp_path / AWAY, fault)
    kept = (away / "results" / KEY / "detection.csv").read_bytes()
    run_here(away, ["organism"], {KEY: str(tmp_path / AWAY)})
    try:
        done = run(away, "stages/elsewhere.py", KEY)
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert (away / "results" / KEY / "detection.csv").read_bytes() == kept
        assert not list((away / "results").glob("*.unfinished"))
    finally:
        run_here(away, ["organism"], {KEY: AWAY})


@pytest.mark.parametrize("key", ["organism", "unheard-of"])
def test_a_model_that_is_run_here_or_is_unknown_is_not_run_elsewhere(tmp_path: Path, key: str) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    with edited(tmp_path / "params.yaml") as values:
        values["elsewhere"] = {key: AWAY}
    with pytest.raises(SettingsError, match=rf"elsewhere\.{key}: allowed, keys of models that are not in study"):
        load_settings(tmp_path / "params.yaml")
