"""Competence: the readout against a closed form, the shares against a count by hand, the interval against Wilson's."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from introspection.experiments.competence.statistics import Unsteered, competence, unsteered
from introspection.experiments.competence.tables import COMPETENCE
from introspection.experiments.controls.statistics import control_statistics
from introspection.model.language_model import LanguageModel
from introspection.model.readout import read_answers
from introspection.paper.wording import share
from introspection.stimuli.prompts import Stimuli

EXPECTED = {"Is it?": "yes", "Does it?": "yes", "Was it?": "no", "Did it?": "no", "Will it?": "no"}


def test_mass_and_difference_are_those_of_the_logits(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    states = 3 * torch.randn(70, qwen2.hidden_size, generator=torch.Generator().manual_seed(2))
    found = read_answers(qwen2, states, stimuli.yes, stimuli.no)
    logits = qwen2.logits(states).double()
    yes, no = (logits[:, qwen2.token(answer)] for answer in (stimuli.yes, stimuli.no))
    mass = (yes.exp() + no.exp()) / logits.exp().sum(dim=-1)
    torch.testing.assert_close(found["answer_mass"].double(), mass, rtol=2e-5, atol=0)
    torch.testing.assert_close(found["logit_difference"].double(), yes - no, rtol=1e-5, atol=1e-5)
    odds = torch.log(found["p_yes"].double() / found["p_no"].double())
    torch.testing.assert_close(found["logit_difference"].double(), odds, rtol=1e-4, atol=1e-4)
    assert float(found["answer_mass"].max()) <= 1


def controls(arms: dict[str, list[float]], base: list[float], mass: float = 0.9) -> pd.DataFrame:
    """A control table of these differences of logits, in the order of EXPECTED."""
    return pd.DataFrame(
        [
            {
                "vector": vector,
                "question": question,
                "logit_difference_base": base[row],
                "logit_difference_injected": injected[row],
                "answer_mass_base": mass,
                "answer_mass_injected": 0.1 * (row + 1),
            }
            for vector, injected in arms.items()
            for row, question in enumerate(EXPECTED)
        ]
    )


def test_competence_is_counted_by_what_was_injected() -> None:
    base = [2.0, -1.0, -3.0, -0.1, 0.5]
    table = competence(controls({"cat": [-1.0] * 5, "finetune": [0.0] * 5}, base), EXPECTED, 0.95)
    COMPETENCE.check(table)
    assert list(table["vector"]) == ["none", "cat", "finetune"]
    turned = competence(controls({"love": [-1.0] * 5, "cat": [0.0] * 5}, base), EXPECTED, 0.95)
    assert list(turned["vector"]) == ["none", "love", "cat"]  # as they stand in the table of controls
    mixed = controls({"cat": [-1.0] * 5}, base)
    mixed = pd.concat([mixed.iloc[:1].assign(vector="love"), mixed])
    assert competence(mixed, EXPECTED | {"Is it?": "no"}, 0.95)["questions"].tolist() == [1, 1, 5]
    assert list(table["right"]) == [3, 3, 0]  # a tie is no answer
    assert list(table["questions"]) == [5, 5, 5]
    none, cat, _ = table.to_dict("records")
    assert (none["accuracy_yes"], none["accuracy_no"]) == (0.5, pytest.approx(2 / 3))
    assert none["balanced_accuracy"] == pytest.approx(7 / 12)
    assert (cat["accuracy_yes"], cat["accuracy_no"], cat["balanced_accuracy"]) == (0, 1, 0.5)
    assert none["answer_mass"] == pytest.approx(0.9)
    assert cat["answer_mass"] == pytest.approx(0.3)
    assert unsteered(table).accuracy == pytest.approx(7 / 12)


@given(st.lists(st.booleans(), min_size=5, max_size=5), st.floats(0.5, 0.999))
def test_the_interval_is_wilsons(right: list[bool], confidence: float) -> None:
    signs = [
        (1 if answer == "yes" else -1) * (1 if is_right else -1)
        for answer, is_right in zip(EXPECTED.values(), right, strict=True)
    ]
    row = competence(controls({"cat": [1.0] * 5}, [float(sign) for sign in signs]), EXPECTED, confidence).iloc[0]
    n, p = 5, sum(right) / 5
    z = math.sqrt(2) * float(torch.erfinv(torch.tensor(confidence, dtype=torch.float64)))
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert row["accuracy_low"] == pytest.approx((middle - half) / (1 + z * z / n), abs=1e-9)
    assert row["accuracy_high"] == pytest.approx((middle + half) / (1 + z * z / n), abs=1e-9)


def test_a_model_can_answer_where_it_reaches_both_thresholds() -> None:
    assert Unsteered(0.8, 0.5).can_answer(0.8, 0.5)
    assert not Unsteered(0.79, 1.0).can_answer(0.8, 0.5)
    assert not Unsteered(1.0, 0.49).can_answer(0.8, 0.5)


def test_a_model_that_always_says_the_same_cannot_answer() -> None:
    table = competence(controls({"cat": [1.0] * 5}, [-5.0] * 5), EXPECTED, 0.95)
    assert unsteered(table).accuracy == 0.5
    only_no = dict.fromkeys(EXPECTED, "no")
    with pytest.raises(ValueError, match="no control question is to be answered yes"):
        competence(controls({"cat": [1.0] * 5}, [-5.0] * 5), only_no, 0.95)
    with pytest.raises(ValueError, match="no right answer is known to 'Will it"):
        competence(
            controls({"cat": [1.0] * 5}, [1.0] * 5), {k: v for k, v in EXPECTED.items() if k != "Will it?"}, 0.95
        )


@pytest.mark.parametrize("groups", [["expected_no"] * 4, ["expected_no"] * 2 + ["expected_yes"] * 2])
def test_where_all_is_excluded_there_is_no_row(groups: list[str]) -> None:
    """As for SmolLM2, which says yes to everything: no mean over nothing."""
    numbers = {
        f"{p}_{arm}{end}": 0.5 for p in ("p_yes", "p_no") for arm in ("base", "injected") for end in ("", "_bf16")
    }
    table = pd.DataFrame(
        [
            {"vector": v, "question": f"q{row}", "group": group, **numbers}
            for v in ("a", "b")
            for row, group in enumerate(groups)
        ]
    )
    expected = {f"q{row}": group.removeprefix("expected_") for row, group in enumerate(groups)}
    found = control_statistics(table, expected, 0.01)
    assert len(found.excluded) == groups.count("expected_no")
    assert list(found.table["group"]) == ["expected_yes"] * (2 * ("expected_yes" in groups))
    assert not found.table.drop(columns=["vector", "group"]).isna().any(axis=None)
    assert {"vector", "group", "questions", "p_yes_shift_std_bf16"} <= set(found.table)


def test_a_share_that_is_not_all_does_not_show_as_all() -> None:
    assert [share(value) for value in (0, 1, 0.99997, 0.0001, 0.5)] == ["0.0%", "100.0%", ">99.9%", "<0.1%", "50.0%"]
