"""What an organism on a real model is asked beyond yes and no: the same as a model of the study, at its own dose."""

from __future__ import annotations

from pathlib import Path

import pytest

from introspection.experiments.dose.tables import NORMS
from introspection.experiments.framing.tables import FRAMING
from introspection.experiments.places.tables import PLACES
from introspection.experiments.population.concepts import load_population
from introspection.experiments.population.vectors import VECTORS, load_directions
from introspection.experiments.reader.tables import READER
from introspection.experiments.reader.tables import SUMMARY as READER_SUMMARY
from introspection.experiments.where.tables import SUMMARY as WHERE_SUMMARY
from introspection.experiments.where.tables import WHERE
from introspection.experiments.which.tables import NAMING_SUMMARY, WHICH
from introspection.experiments.which.tables import SUMMARY as WHICH_SUMMARY
from introspection.experiments.zoo.beyond import ask_beyond
from introspection.experiments.zoo.opened import open_organism
from introspection.experiments.zoo.tables import BEYOND
from introspection.settings import load_settings
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def asked(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a small model was asked, with all that it was asked in `build/state`."""
    root = tmp_path_factory.mktemp("beyond")
    (root / "data").symlink_to(ROOT / "data")
    settings = load_settings(ROOT / "params.yaml")
    injection = settings.organisms.grown.injection.model_copy(update={"layers": (1, 2), "strength": 4.0})
    grown = settings.organisms.grown.model_copy(update={"injection": injection})
    fewer = {
        "study": {"concepts": ("cat", "bread"), "random_directions": 1},
        "population": {"suffixes": 2},
        "where": {"directions": 0, "resamples": 20, "permutations": 20},
        "places": {"windows": 2, "pairs": 1, "controls": 2},
        "which": {"resamples": 20, "permutations": 20},
        "reader": {"passages": 4, "suffixes": 4, "resamples": 20, "permutations": 20},
        "organisms": {"grown": grown},
    }
    little = {section: getattr(settings, section).model_copy(update=each) for section, each in fewer.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        subject = open_organism(
            settings.model_copy(update=little),
            "grown",
            "state",
            folders["qwen2"],
            Path("data/prompts"),
            ["I", "Well, I", "It is", "Yes, and then"],
            Path("build/state"),
        )
        assert tuple(ask_beyond(subject)) == BEYOND
    return root


def test_every_experiment_writes_its_files_and_its_summaries(asked: Path) -> None:
    folder = asked / "build" / "state"
    for table in (FRAMING, NAMING_SUMMARY, PLACES, READER_SUMMARY, WHERE_SUMMARY, WHICH_SUMMARY):
        assert len(table.read(folder / table.name, ""))
        assert table.name in BEYOND
    assert set(READER.read(folder / READER.name, "")["passage"]) == {1, 2, 3, 4}


def test_doses_are_fractions_of_its_own_norms_in_its_own_blocks_and_in_others(asked: Path) -> None:
    folder, given = asked / "build" / "state", load_settings(ROOT / "params.yaml").places
    norms, places = (table.read(folder / table.name, "") for table in (NORMS, PLACES))
    assert set(places["fraction"]) == {*given.common}
    assert set(places["vector"]) == {*given.concepts, "random_1"}
    assert places.groupby(["first_layer", "last_layer"]).size().eq(len(given.common) * 3).all()
    assert {*zip(*(places.loc[places["own"], f"{end}_layer"] for end in ("first", "last")), strict=True)} == {(1, 2)}
    for row in places.to_dict("records"):  # layer 0 is the embedding, so block k is layer k + 1
        within = norms["layer"].between(row["first_layer"] + 1, row["last_layer"] + 1)
        assert row["strength"] == pytest.approx(row["fraction"] * norms.loc[within, "mean_norm"].mean(), rel=1e-3)


def test_it_is_asked_at_its_own_dose(asked: Path) -> None:
    where = WHERE.read(asked / "build" / "state" / WHERE.name, "")
    assert set(where["vector"]) == {"cat", "bread"}
    assert where[["strength", "first_layer", "last_layer"]].drop_duplicates().to_numpy().tolist() == [[4, 1, 2]]


def test_the_summary_is_that_of_its_own_trials(asked: Path) -> None:
    folder = asked / "build" / "state"
    where, summary = WHERE.read(folder / WHERE.name, ""), WHERE_SUMMARY.read(folder / WHERE_SUMMARY.name, "")
    right = (where["chosen"] == where["place"])[where["aim"] == "injected"].groupby(where["task"]).mean()
    raw = summary[(summary["kind"] == "concept") & (summary["readout"] == "raw")].set_index("task")
    assert raw["accuracy_injected"].to_dict() == pytest.approx(right.to_dict())


def test_every_word_is_named_and_each_listed_concept_injected(asked: Path) -> None:
    folder = asked / "build" / "state"
    assert {*load_directions(asked / VECTORS / "state.safetensors")} == {*load_population().concepts}
    listed = {*load_settings(ROOT / "params.yaml").which.concepts, "none"}
    assert set(WHICH.read(folder / WHICH.name, "")["injected"]) == listed
