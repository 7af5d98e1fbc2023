"""Control questions: the table against the two-phase procedure, and its statistics against arithmetic done by hand."""

from __future__ import annotations

import math
import statistics

import pandas as pd
import pytest

from introspection.engine.run import prefill
from introspection.engine.trial import Injection
from introspection.experiments.controls.measure import ask_controls
from introspection.experiments.controls.statistics import control_statistics
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Stimuli
from introspection.tables import READOUT, names_of
from tests.reference import two_phase_logits


def test_questions_equal_the_two_phase_procedure(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    vectors = dict(random_vectors(qwen2, 1, seed=3))
    prompt = encode(qwen2.tokenizer, stimuli.detection[stimuli.control_prompt])
    turn_1 = prefill(qwen2, prompt.token_ids[: prompt.steered[1]])  # the model itself in the finetune's place
    table = ask_controls(
        qwen2,
        stimuli,
        [Injection("random_1", 4.0, 1, 3)],
        {name: vector.directions for name, vector in vectors.items()},
        turn_1,
    )
    assert list(table.columns) == [
        "vector",
        "question",
        "group",
        "strength",
        "first_layer",
        "last_layer",
        *names_of(READOUT),
    ]
    questions = [(question.question, question.group) for question in stimuli.controls]
    assert list(zip(table["question"], table["group"], strict=True)) == 2 * questions
    assert list(table["vector"]) == ["random_1"] * len(questions) + ["finetune"] * len(questions)
    yes = qwen2.token(stimuli.yes)
    for place in (0, 7, len(questions) - 1):
        conversation = stimuli.control_conversation(stimuli.controls[place])
        base = two_phase_logits(qwen2, conversation, None).softmax(0)[yes]
        injected = two_phase_logits(qwen2, conversation, vectors["random_1"], 4.0, (1, 3)).softmax(0)[yes]
        assert table["p_yes_base"][place] == pytest.approx(float(base), rel=2e-5)
        assert table["p_yes_injected"][place] == pytest.approx(float(injected), rel=2e-5)
        assert abs(injected - base) > 1e-4 * base
        swapped = table.iloc[len(questions) + place]
        assert swapped["p_yes_injected"] == pytest.approx(float(base), rel=2e-5)


def controls(rows: list[tuple[str, str, str, float, float]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["vector", "question", "group", "p_yes_base", "p_yes_injected"])
    for arm in ("base", "injected"):
        table[f"p_no_{arm}"] = 0.9 - table[f"p_yes_{arm}"]
        for answer in ("p_yes", "p_no"):
            table[f"{answer}_{arm}_bf16"] = table[f"{answer}_{arm}"].round(2)
    return table


RIGHT = {"q1": "no", "q2": "no", "q3": "no", "q4": "yes"}


def test_means_and_deviations_leave_out_what_confuses_the_unsteered_model() -> None:
    table = controls(
        [
            ("cat", "q1", "expected_no", 0.001, 0.011),
            ("cat", "q2", "expected_no", 0.01, 0.05),  # on the bar: kept
            ("cat", "q3", "expected_no", 0.011, 0.9),  # above it
            ("cat", "q4", "expected_yes", 0.8, 0.7),
            ("bread", "q1", "expected_no", 0.001, 0.001),
            ("bread", "q2", "expected_no", 0.01, 0.02),
            ("bread", "q3", "expected_no", 0.011, 0.012),
            ("bread", "q4", "expected_yes", 0.8, 0.8),
        ]
    )
    found = control_statistics(table, RIGHT, 0.01)
    assert found.excluded == ("q3",)
    assert list(found.table["vector"]) == ["cat", "cat", "bread", "bread"]
    assert list(found.table["group"]) == ["expected_no", "expected_yes"] * 2
    assert list(found.table["questions"]) == [2, 1, 2, 1]
    cat = found.table.iloc[0]
    assert cat["p_yes_base"] == pytest.approx(0.0055)
    assert cat["p_yes_injected"] == pytest.approx(0.0305)
    assert cat["p_yes_shift"] == pytest.approx(statistics.mean([0.01, 0.04]))
    assert cat["p_yes_shift_std"] == pytest.approx(statistics.stdev([0.01, 0.04]))
    assert cat["p_no_shift"] == pytest.approx(-0.025)
    assert cat["p_no_shift_std"] == pytest.approx(statistics.stdev([0.01, 0.04]))
    assert cat["p_yes_shift_bf16"] == pytest.approx(statistics.mean([0.01, 0.04]))
    assert cat["p_yes_shift_std_bf16"] == pytest.approx(statistics.stdev([0.01, 0.04]))
    assert math.isnan(found.table["p_yes_shift_std"][1])
    assert found.table["p_yes_shift"][1] == pytest.approx(-0.1)


def test_nothing_is_left_out_below_the_bar() -> None:
    table = controls([("cat", "q1", "expected_no", 0.5, 0.6), ("cat", "q2", "expected_yes", 1.0, 1.0)])
    right = {"q1": "no", "q2": "yes"}
    assert control_statistics(table, right, 0.5).excluded == ()
    assert control_statistics(table, right, 0.4).excluded == ("q1",)
    assert list(control_statistics(table, right, 0.4).table["group"]) == ["expected_yes"]
