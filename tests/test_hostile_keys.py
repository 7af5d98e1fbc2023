"""Keys of params.yaml that would be a shell's words or a path elsewhere: nothing of them is run, nothing deleted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import networkx
import pytest
from dvc.exceptions import ReproductionError
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.quicker_dvc import repository
from tests.small_study import code_of
from tests.test_fuzz import BOMB

yaml = YAML(typ="rt")
PIPELINE = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.fixture
def hostile(project: Path) -> Any:
    """Write params.yaml with changes, and have it as it was afterwards."""
    path = project / "params.yaml"
    kept = {each: each.read_bytes() for each in (path, project / "dvc.lock")}

    def write(change: Any) -> None:
        values = yaml.load(kept[path])
        change(values)
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(values, file)

    yield write
    for each, data in kept.items():
        each.write_bytes(data)


def test_a_key_that_is_a_command_or_a_path_elsewhere_is_refused_before_dvc_uses_it(
    project: Path, hostile: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """DVC deletes a stage's output and hands its command to a shell: neither may have happened."""
    elsewhere = project.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("precious")

    def change(values: Any) -> None:
        trained = values["organisms"]["trained"]
        for key in ("x; touch ran", "$(touch ran)", "../../elsewhere"):
            trained[key] = trained["organism-blind"]
        values["study"]["models"] = ["$(touch ran)", "organism"]

    hostile(change)
    with repository(project) as repo, pytest.raises(ReproductionError):
        repo.reproduce(["train", "model"])
    assert (elsewhere / "kept").read_text() == "precious"
    assert not (project / "ran").exists()
    assert "organisms.trained.x; touch ran" in capsys.readouterr().err


def refused(project: Path, *command: str) -> str:
    """The one line that a command ends with at once, its status 1 or make's own; no key was run as a command."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make test`
    run = subprocess.run(
        command,
        cwd=project,
        env=environment | code_of(project),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode in (1, 2), run.stderr
    assert not (project / "ran").exists()
    assert not run.stdout
    return run.stderr


QUICKER, LANES = ("scripts/quicker_dvc.py",), ("-m", "scripts.lanes", "2")


@pytest.mark.parametrize("dvc", [QUICKER, LANES], ids=["quicker", "lanes"])
def test_what_make_starts_looks_at_keys_though_the_check_is_not_asked_for(
    project: Path, hostile: Any, dvc: tuple[str, ...]
) -> None:
    def change(values: Any) -> None:
        trained = values["organisms"]["trained"]
        trained["x; touch ran\x1b"] = trained["organism-blind"]

    hostile(change)
    told = refused(project, sys.executable, *dvc, "repro", "--single-item", "train")
    assert re.fullmatch(r"Error: params\.yaml: organisms\.trained\.x; touch ran\\x1b: found .*use letters.*\n", told)


def test_a_yaml_bomb_is_refused_before_dvc_writes_it_out(project: Path, hostile: Any) -> None:
    hostile(lambda values: None)
    (project / "params.yaml").write_text(BOMB)
    told = refused(project, sys.executable, *QUICKER, "repro", "--single-item", "check")
    assert re.fullmatch(r"Error: params\.yaml: its aliases stand for more than .*\n", told)


@pytest.mark.parametrize("target", ["quick", "paper", "reproduce", "organisms"])
def test_make_gives_no_key_to_a_shell(project: Path, hostile: Any, target: str) -> None:
    hostile(lambda values: None)
    parameters = project / "params.yaml"
    text, count = re.subn(r"^  models: \[", "  models: [$(touch ran), ", parameters.read_text(), flags=re.MULTILINE)
    assert count == 1
    parameters.write_text(text)
    installed = [word for name in (".installed", ".installed-dev") for word in ("-o", f"{sys.prefix}/{name}")]
    told = refused(project, "make", "--silent", *installed, f"VENV={sys.prefix}", target)
    assert re.fullmatch(
        r"Error: params\.yaml: study\.models\.0: found '\$\(touch ran\)'; use.*\nmake: .* Error 1\n", told
    )


def test_a_misspelt_section_is_told_though_no_stage_reads_it(
    project: Path, hostile: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with repository(project) as repo:
        repo.reproduce(["check"])
    hostile(lambda values: values.update({"lense": {}}))
    capsys.readouterr()
    with repository(project) as repo, pytest.raises(ReproductionError):
        repo.reproduce(["check"])
    assert "lense: unknown key" in capsys.readouterr().err


def test_every_stage_whose_command_or_output_holds_a_key_comes_after_the_check(project: Path) -> None:
    with repository(project) as repo:
        graph = repo.index.graph
    checked = {stage.name for stage in graph if "check" in {each.name for each in networkx.descendants(graph, stage)}}
    with_keys = {name for name, stage in PIPELINE.items() if "foreach" in stage or "matrix" in stage} - {"download"}
    unchecked = {stage.name for stage in graph if stage.name.partition("@")[0] in with_keys} - checked
    assert not unchecked
