"""Framing: what turn 1 says about injections, and what that does to the answers and to what an injection adds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from introspection.experiments.framing.measure import measure, trials
from introspection.experiments.framing.report import frame_means
from introspection.experiments.framing.tables import FRAMING
from introspection.experiments.subject import open_subject
from introspection.files import write_json
from introspection.injection.dose import QUESTIONS, Dose
from introspection.injection.vectors import load_vector, random_vectors, save_vector
from introspection.model.language_model import LanguageModel
from introspection.settings import ModelSettings, load_settings
from introspection.settings.sections import FramingSettings
from introspection.stimuli.chat import encode
from introspection.stimuli.files import StimuliError
from introspection.stimuli.prompts import Frame, Stimuli, reframed
from tests.conftest import ROOT
from tests.reference import two_phase_logits


@pytest.fixture(scope="module")
def found(
    folders: dict[str, Path], qwen2: LanguageModel, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, pd.DataFrame, int]:
    """The results' folder with the vectors, the table, and how many trials were planned."""
    folder = tmp_path_factory.mktemp("results") / "small"
    write_json(folder / QUESTIONS, asdict(Dose(1, 2, 4.0, None)))
    for name, (_, vector) in zip(("cat", "random_1"), random_vectors(qwen2, 2, seed=3), strict=True):
        save_vector(vector, folder / "vectors" / f"{name}.gguf")
    settings = load_settings(ROOT / "params.yaml")
    few = {
        "framing": FramingSettings(pairs=1, controls=2),
        "study": settings.study.model_copy(update={"concepts": ("cat",), "random_directions": 1}),
    }
    loading = ModelSettings(
        source=str(folders["qwen2"]), dtype="float32", layers=(1, 2), strength=4.0, filler="original", contrast=None
    )
    stimuli = Stimuli(ROOT / "data" / "prompts")
    subject = open_subject(settings.model_copy(update=few), "small", loading, stimuli, folder)
    (output,) = measure(subject.loaded()).values()
    return folder, output.rows, sum(len(run.trials) for run in trials(subject))


def test_every_injection_after_every_turn_1(found: tuple[Path, pd.DataFrame, int], stimuli: Stimuli) -> None:
    _, table, planned = found
    file = stimuli.framing()
    assert set(file.frames) == {"announces", "denies", "silent", "hypothetical"}
    turns_1 = len(file.frames) * len(file.supports)
    assert len(table) == turns_1 * table["vector"].nunique()
    assert planned == turns_1 * (1 + 2 + 3 * 2) * (1 + table["vector"].nunique())


def test_a_frame_stands_in_the_place_of_the_first_and_last_paragraph(stimuli: Stimuli) -> None:
    file, info = stimuli.framing(), stimuli.detection["info"]
    framed = stimuli.framed_conversation("info", file.frames["denies"])
    (before,), (after,) = (
        [turn.content for turn in each if turn.injected and turn.role == "user"] for each in (info, framed)
    )
    assert after.split("\n\n")[1:-1] == before.split("\n\n")[1:-1] != []
    assert after.startswith(file.frames["denies"].opening) and after.endswith(file.frames["denies"].closing)
    assert [turn for turn in framed if turn.content != after] == [turn for turn in info if turn.content != before]
    with pytest.raises(StimuliError, match="has two paragraphs"):
        reframed(stimuli.detection["no_info"], Frame(opening="a", closing="b"))


def test_frames_are_about_as_long(stimuli: Stimuli) -> None:
    file = stimuli.framing()
    words = [len(f"{frame.opening} {frame.closing}".split()) for frame in file.frames.values()]
    assert max(words) <= 1.1 * min(words)
    assert not [
        word
        for word in ("inject", "concept", "pattern", "activation")
        if word in f"{file.frames['silent'].opening}{file.frames['silent'].closing}"
    ]


def test_a_row_is_the_two_phase_procedure(
    found: tuple[Path, pd.DataFrame, int], qwen2: LanguageModel, stimuli: Stimuli
) -> None:
    folder, table, _ = found
    row = table[(table["vector"] == "cat") & (table["frame"] == "denies") & (table["support"] == "explanation")].iloc[0]
    conversation = stimuli.framed_conversation("info", stimuli.framing().frames["denies"])
    vector = load_vector(folder / "vectors" / "cat.gguf")
    layers = (int(row["first_layer"]), int(row["last_layer"]))
    differences = []
    for strength in (0.0, float(row["strength"])):
        logits = two_phase_logits(qwen2, conversation, vector, strength, layers)
        differences.append(float(logits[qwen2.token(stimuli.yes)] - logits[qwen2.token(stimuli.no)]))
    assert row["shift"] == pytest.approx(differences[1] - differences[0], abs=2e-4)
    start, stop = encode(qwen2.tokenizer, conversation).steered
    assert row["tokens_turn_1"] == stop - start


def test_means_by_frame_keep_random_directions_apart() -> None:
    rows = [
        {"vector": vector, "frame": frame, "support": "filler", "p_yes_base": 0.2, "residual": residual}
        for vector, residual in (("cat", 1.0), ("bread", 3.0), ("random_1", 0.5), ("random_2", 0.1))
        for frame in ("announces", "denies")
    ]
    means = frame_means(pd.DataFrame(rows))
    assert list(means.index) == [("filler", "announces"), ("filler", "denies")]
    np.testing.assert_allclose(means.iloc[0], [0.2, 2.0, 0.3])
    assert FRAMING.name == "framing.csv"
