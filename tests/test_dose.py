"""The dose: norms, divergences and competence against computations by hand, and the rule on tables made up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from introspection.engine.trial import Directions, Injection
from introspection.engine.work import Work, count_work
from introspection.experiments.controls.measure import ask_controls
from introspection.experiments.dose import measure as dose_measure
from introspection.experiments.dose.measure import asked, distinct_pairs, names_concept
from introspection.experiments.dose.norms import residual_norms
from introspection.experiments.dose.rule import calibration, largest_borne, mean_norm
from introspection.experiments.dose.tables import DOSE, NORMS
from introspection.experiments.subject import PlannedSubject
from introspection.injection.divergence import divergences
from introspection.injection.dose import Calibration, doses, of_norm
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel
from introspection.settings import DoseSettings, ModelSettings, OfNorm, Settings, SettingsError, load_settings
from introspection.steering import Edit, steered
from introspection.stimuli.prompts import Stimuli
from tests.conftest import ROOT
from tests.small_models import load
from tests.test_config import committed, write

LAYERS = (1, 3)


def directions(model: LanguageModel) -> Directions:
    return {name: vector.directions for name, vector in random_vectors(model, 2, seed=3)}


@pytest.mark.parametrize("family", ["qwen2", "llama", "gemma2"])
def test_norms_are_those_of_the_models_own_hidden_states(
    folders: dict[str, Path], family: str, stimuli: Stimuli
) -> None:
    model, passages = load(folders[family]), stimuli.neutral()
    table = residual_norms(model, passages, tokens_per_batch=200)
    with torch.inference_mode():
        states = [
            model.model(torch.tensor([model.tokenizer(text)["input_ids"]]), output_hidden_states=True).hidden_states
            for text in passages
        ]
    assert list(table["layer"]) == list(range(6))
    for layer in range(5):  # the last of theirs is normed
        norms = torch.stack([each[layer][0, -1].norm() for each in states])
        assert table["mean_norm"][layer] == pytest.approx(float(norms.mean()), rel=1e-5)
        assert table["norm_std"][layer] == pytest.approx(float(norms.std()), rel=1e-4)
    NORMS.check(table)


@pytest.mark.parametrize("family", ["qwen2", "llama", "gemma2"])
def test_divergences_equal_two_passes_with_hooks(folders: dict[str, Path], family: str, stimuli: Stimuli) -> None:
    model, passages = load(folders[family]), stimuli.neutral()[:5]
    vectors = directions(model)
    injections = [
        Injection("random_1", 0.0, *LAYERS),
        Injection("random_1", 3.0, *LAYERS),
        Injection("random_2", 6.0, 2, 4),
    ]
    found = divergences(model, passages, injections, vectors, tokens_per_batch=150)
    assert found[0] == 0
    for injection, divergence in zip(injections[1:], found[1:], strict=True):
        edits = {
            block: Edit(additions=torch.as_tensor(injection.strength * vectors[injection.vector][block])[None])
            for block in range(injection.first_layer, injection.last_layer + 1)
        }
        by_hand = []
        for text in passages:
            ids = torch.tensor([model.tokenizer(text)["input_ids"]])
            with torch.inference_mode():
                plain = model.model(ids).logits[0, -1].double().softmax(-1)
                with steered(model.blocks, edits):
                    moved = model.model(ids).logits[0, -1].double().softmax(-1)
            by_hand.append(float((moved * (moved / plain).log()).sum()))
        assert divergence == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-3)
        assert divergence > 1e-3


def settings_for(folder: Path, strength: Any = 4.0, **dose: Any) -> Settings:
    settings = load_settings(ROOT / "params.yaml")
    model = ModelSettings(source=str(folder), dtype="float32", layers=LAYERS, strength=strength, filler="original")
    small = {"fractions": (0.0, 0.5, 1.0), "concepts": ("cat",), "random_directions": 1, "questions": 3} | dose
    return settings.model_copy(
        update={
            "models": {"tiny": model},
            "dose": settings.dose.model_copy(update=small),
            "samples": settings.samples.model_copy(update={"max_new_tokens": 5}),
        }
    )


class Given(PlannedSubject):
    """A subject whose vectors are made up."""

    def directions(self, vectors: Sequence[str]) -> Directions:
        made = directions(self.model)
        return {name: made["random_1" if name == "cat" else "random_2"] for name in vectors}


def subject_of(folder: Path, stimuli: Stimuli, **changes: Any) -> Given:
    settings = settings_for(folder, **changes)
    return Given("tiny", settings, settings.models["tiny"], stimuli, folder, load(folder))


def test_a_dose_is_what_the_parts_say(folders: dict[str, Path], stimuli: Stimuli) -> None:
    subject = subject_of(folders["qwen2"], stimuli)
    outputs = dose_measure.measure(subject)
    norms, table = (outputs[each.name].table.check(outputs[each.name].rows) for each in (NORMS, DOSE))
    assert list(zip(table["vector"], table["fraction"], strict=True)) == [
        (vector, fraction) for vector in ("cat", "random_1") for fraction in (0.0, 0.5, 1.0)
    ]
    norm = sum(norms["mean_norm"][layer] for layer in (2, 3, 4)) / 3  # what blocks 1 to 3 write
    assert list(table["strength"][:3]) == [0, float(f"{norm / 2:.4g}"), float(f"{norm:.4g}")]
    assert table["kl"][0] == table["kl"][3] == 0 and (table["kl"][[1, 2, 4, 5]] > 0).all()
    questions = asked(stimuli, 3)
    assert [each.expected for each in questions] == ["no"] * 3 + ["yes"] * 3
    injections = [Injection(row.vector, row.strength, *LAYERS) for row in table.itertuples() if row.fraction > 0]
    answers = ask_controls(subject.model, stimuli, injections, subject.directions(["cat", "random_1"]))
    answers = answers[answers["question"].isin([each.question for each in questions])]
    expected = answers["group"].eq("expected_yes")
    for row in table.itertuples():
        same = answers["vector"] == row.vector
        arm = "injected" if row.fraction else "base"
        same &= answers["strength"] == (row.strength or answers["strength"].iloc[0 if row.vector == "cat" else -1])
        yes, no = answers.loc[same, f"p_yes_{arm}"], answers.loc[same, f"p_no_{arm}"]
        assert len(yes) == 6
        assert row.answer_mass == pytest.approx((yes + no).mean(), rel=1e-5)
        assert row.control_accuracy == pytest.approx(((yes > no) == expected[same]).mean())
    assert table["reply"].str.startswith("I'm thinking about").all()
    assert table["on_topic"].isna().tolist() == [False] * 3 + [True] * 3


def test_the_planned_rows_are_those_that_run(
    folders: dict[str, Path], stimuli: Stimuli, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = subject_of(folders["qwen2"], stimuli)
    subject = replace(subject, settings=subject.settings.model_copy(
        update={"engine": subject.settings.engine.model_copy(update={"tokens_per_batch": 3000})}
    ))  # fmt: skip
    *runs, replies = dose_measure.trials(subject)
    planned = sum((count_work(run.trials, 5, 3000) for run in runs), Work())
    shapes: list[tuple[int, int]] = []
    generated: list[int] = []
    for block in subject.model.blocks:
        block.register_forward_pre_hook(lambda _module, inputs: shapes.append(tuple(inputs[0].shape[:2])))

    def replied(_model: Any, _conversation: Any, under: Sequence[Any], *_rest: Any, **_how: Any) -> list[str]:
        generated.append(len(under))
        return ["I'm thinking about it."] * len(under)

    monkeypatch.setattr(dose_measure, "generate_replies", replied)
    dose_measure.measure(subject)
    assert planned.passes == len(shapes) / 5
    assert planned.block_evaluations == sum(slots for slots, _ in shapes)
    assert planned.block_tokens == sum(slots * length for slots, length in shapes)
    assert generated == [len(replies.trials)] and replies.new_tokens == 5


def test_loops_and_topics() -> None:
    assert distinct_pairs([1, 2, 3, 4]) == 1
    assert distinct_pairs([1, 2, 1, 2, 1]) == 0.5
    assert distinct_pairs([7] * 11) == 0.1
    assert distinct_pairs([7]) == distinct_pairs([]) == 1
    assert (names_concept("I like CATS", "cat"), names_concept("a dog", "cat")) == (1, 0)
    assert names_concept("random", "random_1") is None


def table(**columns: Sequence[float]) -> pd.DataFrame:
    """A dose table of two concepts, of which the second has what is given, and a random direction that is broken."""
    fractions = [0.0, 0.1, 0.2, 0.3]
    good = {"kl": [0.0, 0.5, 1.0, 1.5], "answer_mass": [1.0] * 4, "control_accuracy": [1.0] * 4, "distinct": [1.0] * 4}
    bad = {"kl": [9.0] * 4, "answer_mass": [0.0] * 4, "control_accuracy": [0.0] * 4, "distinct": [0.0] * 4}
    rows = [
        pd.DataFrame({"vector": vector, "fraction": fractions, "on_topic": pd.array([1] * 4, dtype="Int64"), **values})
        for vector, values in (("cat", good), ("bread", good | columns), ("random_1", bad))
    ]
    return pd.concat(rows, ignore_index=True).assign(strength=lambda all_rows: 10 * all_rows["fraction"])


def rule() -> DoseSettings:
    keep = {"control_accuracy": 0.9, "answer_mass": 0.9, "distinct": 0.5}
    values = {"fractions": [0, 0.1], "concepts": ["cat"], "random_directions": 0, "questions": None}
    return DoseSettings.model_validate(values | {"keep": keep, "kl_at_most": 2.0})


@pytest.mark.parametrize(
    ("columns", "fraction", "broken"),
    [
        ({}, 0.3, None),
        ({"kl": [0, 0.5, 3.1, 1]}, 0.1, r"at 0\.2, kl is 2\.05 nats, more than 2 \(dose\.kl_at_most\)"),  # and not 0.3
        ({"kl": [0, 0.5, 3.0, 1]}, 0.3, None),  # the mean is on the bar
        ({"distinct": [1, 1, 1, -0.1]}, 0.2, r"at 0\.3, distinct is 0\.45, less than 0\.5 \(dose\.keep\.distinct\)"),
        (
            {"answer_mass": [0.6, 0.4, 0.44, 0.44]},
            None,
            r"at 0\.1, answer_mass is 0\.7, less than 0\.9 .* unsteered 0\.8",
        ),
        (
            {"control_accuracy": [1, 1, 0.7, 1], "kl": [0, 0, 9, 0]},
            0.1,
            r"at 0\.2, control_accuracy .* and kl is 5 nats",
        ),
        ({"control_accuracy": [0] * 4, "distinct": [0] * 4}, 0.3, None),  # nothing to lose
    ],
)
def test_the_rule_takes_the_largest_dose_below_every_broken_one(
    columns: dict[str, list[float]], fraction: float | None, broken: str | None
) -> None:
    found, why = largest_borne(table(**columns), rule())
    assert found == fraction
    assert why is None if broken is None else why is not None and re.search(broken, why)


def test_strengths_by_rule_become_numbers() -> None:
    norms = pd.DataFrame({"layer": range(7), "mean_norm": [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]})
    assert mean_norm(norms, (2, 4)) == pytest.approx((8 + 16 + 32) / 3)
    assert of_norm(0.3, 56 / 3) == 5.6 and of_norm(0.123456, 100) == 12.35
    sweep = load_settings(ROOT / "params.yaml").sweep
    values = {"source": "m", "dtype": "float32", "layers": [2, 4], "strength": {"of_norm": 0.3}, "filler": "original"}
    contrast = {"source": "f", "strength": "calibrated", "sample_strength": 7}
    model = ModelSettings.model_validate(values | {"contrast": contrast})
    assert model.strength == OfNorm(of_norm=0.3)
    found = doses(model, sweep, Calibration("m", norm=56 / 3, fraction=0.2))
    assert (found.questions.strength, found.questions.persona_strength) == (5.6, 3.733)
    assert (found.replies.persona_strength, found.sweep.strength) == (7, 5.6)
    with pytest.raises(ValueError, match="m: strength is a rule, and nothing was measured"):
        doses(model, sweep)
    bears_nothing = Calibration("m", norm=56 / 3, fraction=None, broken="at 0.1, kl is 3 nats")
    with pytest.raises(ValueError, match=r"models\.m\.contrast\.strength: calibrated: .* dose\.fractions: at 0\.1, kl"):
        doses(model, sweep, bears_nothing)
    plain = model.model_copy(update={"contrast": None})
    assert doses(plain, sweep, bears_nothing).questions.strength == 5.6  # asks for no calibrated dose


def test_a_calibration_is_read_from_the_result_files(tmp_path: Path, folders: dict[str, Path]) -> None:
    settings = settings_for(folders["qwen2"], "calibrated").model_copy(update={"dose": rule()})
    with pytest.raises(ValueError, match=r"residual_norms\.csv: cannot be read .* `dvc repro dose@tiny`"):
        calibration(settings, "tiny", tmp_path)
    norms = {"layer": range(6), "mean_norm": [0.0, 0, 10, 20, 30, 0], "norm_std": 1.0}
    NORMS.write(pd.DataFrame(norms), tmp_path / NORMS.name)
    made = table(kl=[0, 0.5, 3.1, 1]).assign(first_layer=1, last_layer=3, reply='a, "b"\n')
    made.loc[made["vector"] == "random_1", "on_topic"] = pd.NA
    DOSE.write(made, tmp_path / DOSE.name)
    found = calibration(settings, "tiny", tmp_path)
    assert (found.model, found.norm, found.fraction) == ("tiny", 20.0, 0.1)
    assert found.strength_of("calibrated", "strength") == 2.0


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "models.organism.strength",
            "calibrate",
            r"models\.organism\.strength: found 'calibrate'; allowed: a finite n",
        ),
        ("models.organism.strength", {"of_norm": 0}, r"models\.organism\.strength: allowed: .*\{of_norm: FRACTION\}"),
        ("models.organism.strength", {"of": 1}, r"models\.organism\.strength: allowed: a finite number"),
        (
            "models.organism.contrast.strength",
            None,
            r"models\.organism\.contrast\.strength: found None; allowed: a fin",
        ),
        ("dose.fractions", [0.1, 0.2], r"dose\.fractions: found .*the first is 0"),
        ("dose.fractions", [0, 0.2, 0.1], r"dose\.fractions: found .*rising"),
        ("dose.concepts", ["cat", "dog"], r"dose\.concepts names 'dog', which is not one of study\.concepts"),
        ("dose.random_directions", 9, r"dose\.random_directions: found 9; allowed: at most .*, 4"),
        ("dose.keep.distinct", 1.5, r"dose\.keep\.distinct: found 1\.5; input should be less than or equal to 1"),
        ("dose.keep.kl", 1.0, r"dose\.keep\.kl: unknown key; allowed: control_accuracy, answer_mass, distinct"),
    ],
)
def test_a_wrong_dose_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: Any, message: str
) -> None:
    monkeypatch.chdir(ROOT)
    values = committed()
    *sections, name = key.split(".")
    section = values
    for part in sections:
        section = section[part]
    section[name] = value
    with pytest.raises(SettingsError, match=message) as error:
        load_settings(write(tmp_path, values))
    assert len(str(error.value).splitlines()) == 1
