"""State or text: the cells against the two-phase procedure, the effects against arithmetic done by hand."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest

from introspection.experiments.subject import open_subject
from introspection.experiments.written.measure import measure, trials
from introspection.experiments.written.statistics import effects
from introspection.experiments.written.tables import WRITTEN
from introspection.files import write_json
from introspection.injection.dose import QUESTIONS, Dose
from introspection.injection.vectors import load_vector, random_vectors, save_vector
from introspection.model.language_model import LanguageModel
from introspection.names import NOTHING
from introspection.settings import ModelSettings, load_settings
from introspection.stimuli.prompts import Stimuli, StimuliError
from tests.conftest import ROOT
from tests.reference import two_phase_logits


@pytest.fixture(scope="module")
def measured(folders: dict[str, Path], qwen2: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result folder of a small model, with vectors for two concepts and a random direction."""
    folder = tmp_path_factory.mktemp("results") / "small"
    write_json(folder / QUESTIONS, asdict(Dose(1, 3, 4.0, None)))
    vectors = [vector for _, vector in random_vectors(qwen2, 3, seed=1)]
    for name, vector in zip(("cat", "bread", "random_1"), vectors, strict=True):
        save_vector(vector, folder / "vectors" / f"{name}.gguf")
    settings = load_settings(ROOT / "params.yaml")
    study = settings.study.model_copy(update={"concepts": ("cat", "bread"), "random_directions": 1})
    loading = ModelSettings(
        source=str(folders["qwen2"]), dtype="float32", layers=(1, 3), strength=4.0, filler="original", contrast=None
    )
    subject = open_subject(
        settings.model_copy(update={"study": study}), "small", loading, Stimuli(ROOT / "data" / "prompts"), folder
    )
    (outputs,) = measure(subject.loaded()).values()
    outputs.table.write(outputs.rows, folder / WRITTEN.name)
    (run,) = trials(subject)
    stimuli = subject.stimuli.written()
    texts = len(stimuli.prompts) * len(stimuli.sentences)
    assert len(run.trials) == texts * (3 + 3 + 2 * 2)  # unsteered; two concepts and a direction; one of each
    return folder


@pytest.mark.parametrize(("written", "vector"), [("cat", "cat"), ("bread", "random_1"), (NOTHING, "bread")])
def test_a_cell_is_the_two_phase_procedure(measured: Path, qwen2: LanguageModel, written: str, vector: str) -> None:
    table, stimuli = WRITTEN.read(measured / WRITTEN.name, ""), Stimuli(ROOT / "data" / "prompts")
    sentence = stimuli.written().sentences[1]
    row = table[
        (table["vector"] == vector)
        & (table["written"] == written)
        & (table["sentence"] == sentence)
        & (table["prompt"] == "no_info")
    ].iloc[0]
    named = "nothing in particular" if written == NOTHING else written
    system, first, *rest = stimuli.detection["no_info"]
    longer = first.model_copy(
        update={"content": f"{first.content}\n\nThe label on this session's folder says: {named}."}
    )
    yes, no = qwen2.token(stimuli.yes), qwen2.token(stimuli.no)
    control_vector = load_vector(measured / "vectors" / f"{vector}.gguf")
    for arm, strength in (("base", 0.0), ("injected", 4.0)):
        logits = two_phase_logits(qwen2, (system, longer, *rest), control_vector, strength, (1, 3))
        assert row[f"logit_difference_{arm}"] == pytest.approx(float(logits[yes] - logits[no]), abs=2e-4)


def test_effects_are_differences_from_the_same_sentence_about_nothing() -> None:
    rows = [
        ("cat", NOTHING, 1.0, 5.0),
        ("random_1", NOTHING, 1.0, 1.5),
        ("cat", "cat", 2.0, 7.0),
        ("random_1", "cat", 2.0, 2.25),
    ]
    table = pd.DataFrame(
        [
            {
                "vector": vector,
                "written": written,
                "sentence": "about {concept}",
                "prompt": "info",
                "p_yes_base": base / 10,
                "p_yes_injected": injected / 10,
                "logit_difference_base": base,
                "logit_difference_injected": injected,
            }
            for vector, written, base, injected in rows
        ]
    )
    found = effects(table)
    assert list(found.index) == [0, 1, 2, 3]
    found = found.set_index("arm")
    assert list(found.index) == ["text", "state", "both", "random"]
    assert found["shift"].to_dict() == {"text": 1.0, "state": 4.0, "both": 6.0, "random": 1.25}
    assert set(found["concept"]) == {"cat"}
    assert set(found["p_yes_neither"]) == {0.1}
    assert found["p_yes"].to_dict() == {"text": 0.2, "state": 0.5, "both": 0.7, "random": 0.225}


def test_a_sentence_without_a_place_for_the_concept_is_refused(tmp_path: Path) -> None:
    for path in (ROOT / "data" / "prompts").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        broken = text.replace("talking about {concept}", "talking") if path.name == "written.yaml" else text
        (tmp_path / path.name).write_text(broken, encoding="utf-8")
    with pytest.raises(StimuliError, match=r"written.yaml: sentences.0: .*pattern"):
        Stimuli(tmp_path).written()
