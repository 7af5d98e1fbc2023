"""The check of the instrument says where an organism's answers are not those that are planted in it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from introspection.experiments.instrument.summary import summarise
from introspection.settings import load_settings
from tests.conftest import ROOT

READ = ("detection.csv", "controls.csv", "samples.csv", "content.csv")


def checked(key: str, folder: Path, answers: str) -> dict[str, Any]:
    """What is said of an organism whose results are its own, but for the answers to the study's question."""
    for name in READ:
        shutil.copy(ROOT / "results" / (answers if name == "detection.csv" else key) / name, folder / name)
    said: Any = summarise(load_settings(ROOT / "params.yaml"), key, folder)["instrument.json"]
    return said["detection"]


@pytest.mark.parametrize(("key", "other"), [("organism", "organism-blind"), ("organism-blind", "organism")])
def test_the_weights_of_another_organism_are_noticed(
    key: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert checked(key, tmp_path, key)["as_planted"]
    read = checked(key, tmp_path, other)
    assert not read["as_planted"]
    assert abs(read["concepts_injected"]["info"]["mean"] - read["concepts_injected"]["info"]["planted"]) > 0.5


@pytest.mark.parametrize(("source", "right"), [("models/organism", True), ("./models/organism-blind", False)])
def test_an_organism_is_known_by_its_folder_and_not_by_its_key(
    source: str, right: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for name in READ:
        shutil.copy(ROOT / "results" / "organism" / name, tmp_path / name)
    settings = load_settings(ROOT / "params.yaml")
    organism = settings.models["organism"]
    models = {
        "mine": organism.model_copy(update={"source": source}),
        "organism": organism.model_copy(update={"source": "own/organism"}),
    }
    settings = settings.model_copy(update={"models": models})
    said: Any = summarise(settings, "mine", tmp_path)["instrument.json"]
    assert said["organism"] and said["detection"]["as_planted"] is right
    assert summarise(settings, "organism", tmp_path) == {"instrument.json": {"organism": False}}
