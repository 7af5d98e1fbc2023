"""Keys of params.yaml that would be a shell's words or a path elsewhere: nothing of them is run, nothing deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx
import pytest
from dvc.exceptions import ReproductionError
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.quicker_dvc import repository

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
