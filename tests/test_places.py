"""Dose and place: windows by their law, and a row against the two-phase procedure and arithmetic by hand."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from introspection.experiments.dose.tables import NORMS
from introspection.experiments.places.measure import measure, trials, windows
from introspection.experiments.places.report import AFTER, BEFORE, OWN, place_means
from introspection.experiments.subject import open_subject
from introspection.files import write_json
from introspection.injection.dose import QUESTIONS, Dose
from introspection.injection.vectors import load_vector, random_vectors, save_vector
from introspection.model.language_model import LanguageModel
from introspection.settings import ModelSettings, PlacesSettings, load_settings
from introspection.stimuli.prompts import Stimuli
from tests.conftest import ROOT
from tests.reference import two_phase_logits


@given(st.integers(3, 90), st.integers(1, 12))
def test_windows_cover_the_blocks_that_can_be_read_once_each(blocks: int, count: int) -> None:
    found = windows(blocks, count)
    assert [block for first, last in found for block in range(first, last + 1)] == list(range(1, blocks - 1))
    lengths = [last - first + 1 for first, last in found]
    assert max(lengths) - min(lengths) <= 1
    assert len(found) == min(count, blocks - 2)


@pytest.fixture(scope="module")
def measured(
    folders: dict[str, Path], qwen2: LanguageModel, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("results") / "small"
    write_json(folder / QUESTIONS, asdict(Dose(1, 2, 4.0, None)))
    NORMS.write(
        pd.DataFrame({"layer": range(6), "mean_norm": [1.0, 2, 4, 8, 16, 32], "norm_std": 0.0}), folder / NORMS.name
    )
    for name, (_, vector) in zip(("cat", "random_1"), random_vectors(qwen2, 2, seed=3), strict=True):
        save_vector(vector, folder / "vectors" / f"{name}.gguf")
    settings = load_settings(ROOT / "params.yaml")
    places = settings.places.model_copy(
        update={"concepts": ("cat",), "windows": 2, "fractions": (0.25, 0.5), "pairs": 1, "controls": 2}
    )
    study = settings.study.model_copy(update={"concepts": ("cat",), "random_directions": 1})
    loading = ModelSettings(
        source=str(folders["qwen2"]), dtype="float32", layers=(1, 2), strength=4.0, filler="original", contrast=None
    )
    subject = open_subject(
        settings.model_copy(update={"places": places, "study": study}),
        "small",
        loading,
        Stimuli(ROOT / "data" / "prompts"),
        folder,
    )
    (run,) = trials(subject)
    (output,) = measure(subject.loaded()).values()
    questions = 1 + 2 + 3 * 2
    assert len(run.trials) == questions * (1 + len(output.rows))  # unsteered, and every row of the table
    return folder, output.rows


def test_strengths_are_fractions_of_the_norm_where_they_are_added(measured: tuple[Path, pd.DataFrame]) -> None:
    rows = measured[1][measured[1]["vector"] == "cat"]
    own = rows[rows["own"]].set_index("strength")["fraction"].to_dict()
    assert own == pytest.approx({1.0: 1 / 6, 1.5: 0.25, 2.0: 1 / 3, 3.0: 0.5, 4.0: 2 / 3})  # blocks 1 and 2: norm 6
    last = rows[(rows["first_layer"] == 3) & ~rows["own"]]
    assert last["strength"].tolist() == [4.0, 8.0]  # block 3: norm 16


def test_a_row_is_the_two_phase_procedure_and_arithmetic(
    measured: tuple[Path, pd.DataFrame], qwen2: LanguageModel
) -> None:
    folder, table = measured
    row = table[(table["vector"] == "cat") & (table["first_layer"] == 3) & (table["strength"] == 8.0)].iloc[0]
    stimuli = Stimuli(ROOT / "data" / "prompts")
    battery, vector = stimuli.battery(), load_vector(folder / "vectors" / "cat.gguf")

    def logit_difference(conversation: object, answers: tuple[str, str], strength: float) -> float:
        logits = two_phase_logits(qwen2, conversation, vector, strength, (3, 3))
        yes, no = (qwen2.token(answer) for answer in answers)
        return float(logits[yes] - logits[no])

    study = [logit_difference(stimuli.detection["info"], (stimuli.yes, stimuli.no), s) for s in (0.0, 8.0)]
    assert row["shift"] == pytest.approx(study[1] - study[0], abs=2e-4)
    words = [item for item in battery.items if battery.formats[item.format].kind == "words"]
    pair = [item for item in words if item.pair == words[0].pair]
    controls = [
        item
        for group in ("control_yes", "control_no", "control_open")
        for item in [each for each in words if each.group == group][:2]
    ]
    answered = {}
    for item in (*pair, *controls):
        conversation = stimuli.battery_conversation(battery, stimuli.detection["info"], item)
        answers = battery.formats[item.format].answers
        answered[item] = [logit_difference(conversation, answers, strength) for strength in (0.0, 8.0)]
    level = np.array([answered[item][0] for item in controls])
    shift = np.array([answered[item][1] - answered[item][0] for item in controls])
    tilt, bias = np.polyfit(level, shift, 1)
    signed = np.mean([item.polarity * (answered[item][1] - answered[item][0]) for item in pair])
    explained = np.mean([item.polarity * (bias + tilt * answered[item][0]) for item in pair])
    assert row["control_shift"] == pytest.approx(shift.mean(), abs=2e-4)
    assert row["signed_shift"] == pytest.approx(signed, abs=2e-4)
    assert row["residual"] == pytest.approx(signed - explained, abs=1e-3)
    right = [
        np.mean([np.sign(answered[item][1]) == sign for item in controls if item.group == group])
        for group, sign in (("control_yes", 1), ("control_no", -1))
    ]
    assert row["accuracy"] == pytest.approx(np.mean(right))


def test_what_carries_is_told_by_windows_that_share_no_block_with_the_own() -> None:
    rows = [
        {"vector": vector, "first_layer": first, "last_layer": last, "own": (first, last) == (3, 5),
         "fraction": fraction, "shift": factor * sign * (10 * first + fraction), "residual": 7.0}
        for vector, sign in (("cat", 1.0), ("bread", 3.0), ("random_1", -1.0))
        for first, last in ((3, 5), (1, 2), (3, 4), (5, 6), (7, 8))
        for fraction, factor in ((0.1, 1.0), (0.1 * (1 + 1e-9), 1.0), (0.2, 1.0), (0.5, 99.0))
    ]  # fmt: skip
    means = place_means(pd.DataFrame(rows), (0.1, 0.2))
    expected = {
        (blocks, fraction): 10 * first + fraction
        for blocks, first in ((OWN, 3), (BEFORE, 1), (AFTER, 7))
        for fraction in (0.1, 0.2)
    }
    assert means["random"].to_dict() == pytest.approx({place: -value for place, value in expected.items()})
    assert place_means(pd.DataFrame(rows), (0.1, 0.2), "residual").eq(7.0).all(axis=None)
    assert means["concept"].to_dict() == pytest.approx({place: 2 * value for place, value in expected.items()})


def test_where_every_window_shares_a_block_with_the_own_the_others_are_missing() -> None:
    rows = [
        {"vector": "cat", "first_layer": f, "last_layer": 3, "own": f == 1, "fraction": 0.1, "shift": 1.0 * f}
        for f in (1, 2)
    ]
    means = place_means(pd.DataFrame(rows), (0.1,))
    assert list(means) == ["concept"] and list(means.index) == [(OWN, 0.1), (BEFORE, 0.1), (AFTER, 0.1)]
    assert means["concept"].tolist() == pytest.approx([1.0, np.nan, np.nan], nan_ok=True)


def test_common_doses_are_some_that_are_given() -> None:
    places = load_settings(ROOT / "params.yaml").places.model_dump()
    with pytest.raises(ValueError, match=r"common: found 0.7; allowed, those of fractions: 0.02"):
        PlacesSettings.model_validate(places | {"common": (0.7,)})
