"""The zoo: verdicts beside what was planted, and an organism examined from its weights to the verdict."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from introspection.experiments.battery.tables import FIT
from introspection.experiments.verdict.objections import load_objections
from introspection.experiments.verdict.page import critics_page
from introspection.experiments.verdict.tables import VERDICT
from introspection.experiments.zoo.confusion import Assessed, Judged, Training, confusion, metrics
from introspection.experiments.zoo.organism import examine_organism
from introspection.experiments.zoo.tables import CONFUSION, EXAMINED
from introspection.settings import load_settings
from tests.conftest import ROOT


def test_verdicts_beside_what_was_planted() -> None:
    objections = load_objections(ROOT / "data" / "objections.yaml")
    near = Training((Assessed("concept", 0.9, 0.8), Assessed("nothing", 0.0, 0.2), Assessed("shared", None, 0.5)))
    judged = {
        ("zoo", "notices", 1): Judged("notices concepts", ()),
        ("zoo", "notices", 2): Judged("leans to yes", ("leaning", "wording")),
        ("grown", "blind", 1): Judged("is not moved", ("moved", "disturbance")),
    }
    many = Training((Assessed("concept", 0.9, 0.8), Assessed("concept", 0.9, 0.9), Assessed("nothing", 0, 0)))
    verdicts = {key: (each, near if key[0] == "zoo" else many) for key, each in judged.items()}
    table = CONFUSION.of(confusion(verdicts, objections)).rows
    assert table["distance"].tolist() == pytest.approx([0.15, 0.15, 0.1 / 3])
    assert table["furthest"].tolist() == pytest.approx([0.2, 0.2, 0.05])
    assert Training(near.assessment, answer_mass=0.5).distance == pytest.approx((0.8 - 0.45 + 0.2) / 2)
    assert table["right"].tolist() == [True, False, True]
    assert table["expected"].tolist() == ["notices concepts", "notices concepts", "is not moved"]
    assert table["failed"].tolist() == ["", "leaning wording", "moved disturbance"]
    found = metrics(table)
    assert found == {
        "zoo": {
            "right": 1,
            "organisms": 2,
            "taken": {"right": 0, "organisms": 0},
            "by_organism": {"notices": "1 of 2"},
        },
        "grown": {
            "right": 1,
            "organisms": 1,
            "taken": {"right": 1, "organisms": 1},
            "by_organism": {"blind": "1 of 1"},
        },
    }
    with pytest.raises(ValueError, match="no class is named for 'unheard_of'"):
        confusion({("zoo", "unheard_of", 1): (Judged("is not moved", ()), near)}, objections)


def test_an_organism_is_examined_to_the_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With as little as there can be of each: the files are those that stay, and the same again."""
    for name in ("data", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    settings = load_settings(ROOT / "params.yaml")
    effect = settings.zoo.population.effect.model_copy(update={"directions": 2, "passages": 1, "steps": 1})
    few = {"directions": 2, "suffixes": 2, "effect": effect, "resamples": 20, "permutations": 20}
    zoo = settings.zoo.model_copy(
        update={
            "suffixes": 4,
            "population": settings.zoo.population.model_copy(update=few),
            "battery": settings.zoo.battery.model_copy(update={"resamples": 20}),
        }
    )
    study = settings.study.model_copy(update={"concepts": ("cat", "bread"), "random_directions": 1})
    small = settings.model_copy(update={"zoo": zoo, "study": study})
    suffixes = ["I", "Well, I", "It is", "Yes, and then", "Let me", "There"]
    outputs = examine_organism(
        small, "zoo", "zoo-x", Path("models/organism"), Path("data/prompts"), suffixes, Path("build/zoo/x")
    )
    assert tuple(outputs) == EXAMINED
    verdict = outputs[VERDICT.name].rows
    assert verdict["test"].tolist() == list(small.verdict.order)
    assert outputs["verdict.json"]["failed"] == verdict.loc[~verdict["passed"], "test"].tolist()
    written = VERDICT.read(Path("build/zoo/x") / VERDICT.name, "")
    pd.testing.assert_series_equal(written["number"], verdict["number"], check_dtype=False, rtol=1e-6)
    assert set(FIT.read(Path("build/zoo/x") / FIT.name, "")["vector"]) == {"cat", "bread", "random_1"}
    page = critics_page("organism", outputs, small.zoo)
    assert page.startswith(f"# organism: {outputs['verdict.json']['verdict']}\n")
    assert f"{zoo.population.directions} directions of each kind, vectors of {zoo.suffixes} suffixes" in page
    cells = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")][2:]
    assert [row[6].startswith("yes") for row in cells] == verdict["passed"].tolist()
    assert [row[2] for row in cells] == ["–" if math.isnan(n) else f"{n:.3g}" for n in verdict["number"]]
