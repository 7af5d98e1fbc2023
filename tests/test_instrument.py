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
