"""The number behind each test of the verdict, told anew from tables of uneven numbers with much that must not count."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from statistics import fmean, median

import numpy as np
import pandas as pd
import pytest
from scipy.stats import DegenerateDataWarning

from introspection.experiments.verdict.evidence import TESTS, Finding, Tables
from introspection.settings import VerdictSettings

RULE = VerdictSettings(
    order=list(TESTS),
    unasked_at_most=0.25,
    moved_at_least=1.5,
    leaning_below=0.4,
    disturbances=["random", "halves"],
    auc_at_least=0.7,
    centred_at_least=0.3,
    shared_at_least=0.2,
    named_at_least=0.5,
    resamples=4000,
    confidence=0.8,
    seed=3,
)

SHIFTS = {"cat": 2.0, "bread": 3.5, "love": 2.5, "fear": 7.0}  # nats, of concepts at equal norm
CENTRED = {"cat": 1.0, "bread": 0.5, "love": 2.0, "fear": 1.5}
SHARED = 1.25
BY_WORD = {("of {concept}", "cat"): 0.5, ("of {concept}", "bread"): -0.25, ("on {concept}", "cat"): 1.0}
BY_INJECTION = 0.125
CONTROLS = {"cat": 1.0, "bread": -0.5, "love": 0.25, "fear": 3.0}
ASKED = {"cat": 2.0, "bread": 4.0, "love": -1.0, "fear": 5.0}
RESIDUALS = {"cat": (1.0, 0.2, 1.5), "bread": (2.0, 0.9, 2.5), "love": (-1.0, -2.0, 0.5), "fear": (4.0, 3.0, 6.0)}
NAMED = {"cat": "cat", "bread": "bread", "love": "fear", "fear": "fear"}  # three of the four for themselves
AUC = {("random", "norm"): 0.9, ("random", "effect"): 0.8, ("halves", "norm"): 0.72, ("halves", "effect"): 0.75}

NAN = float("nan")
SAID = {
    "answers": (
        "balanced accuracy on control questions, nothing injected",
        "not resampled",
        "the thresholds of competence",
    ),
    "unasked": ("probability of yes, nothing injected", "not resampled", "at most 0.25"),
    "text": (
        "shift of logit(yes) - logit(no) by the written word alone, nats",
        "concepts and sentences",
        "below 1.5, or below the injection's",
    ),
    "moved": ("median shift of logit(yes) - logit(no) under a concept, nats", "concepts", "at least 1.5"),
    "leaning": (
        "shift of control questions as a share of the unsigned shift of the battery's",
        "concepts",
        "below 0.4, or the residual above nothing",
    ),
    "disturbance": (
        "AUC of concepts against two halves of texts, equal norm",
        "directions",
        "lower end at least 0.7 against each kind",
    ),
    "shared": (
        "median shift of concepts without what they share, as a share of concepts'",
        "concepts",
        "at least 0.3",
    ),
    "rest": ("shift of what concepts share, as a share of concepts' median", "concepts", "at least 0.2"),
    "wording": (
        "signed shift over wordings beyond what the controls explain, median concept, nats",
        "control questions and wordings",
        "lower end above 0",
    ),
    "naming": ("share of 4 concepts named before the others", "of a binomial share (Wilson)", "at least 0.5"),
}


def tables() -> Tables:
    """The numbers above under the prompt `info`, among as many of other prompts, kinds, answers and layers."""
    written = [
        {"prompt": "info", "sentence": sentence, "vector": vector, "written": word}
        | {"p_yes_base": 0.1, "p_yes_injected": 0.2}
        | {"logit_difference_base": -4.0 + shift, "logit_difference_injected": -4.0 + injected}
        for sentence in ("of {concept}", "on {concept}")
        for word, shift in [
            ("none", 0.0),
            *((concept, by) for (said, concept), by in BY_WORD.items() if said == sentence),
        ]
        for vector, injected in (("cat", BY_INJECTION), ("random_1", 50.0))
    ]
    population = [
        {"prompt": "info", "kind": kind, "matching": "norm", "vector": vector}
        | {"logit_difference_base": -4.0, "logit_difference_injected": -4.0 + shift}
        for kind, shifts in (("concept", SHIFTS), ("centred", CENTRED), ("shared", {"shared": SHARED}))
        for vector, shift in shifts.items()
    ]
    population += [row | {"matching": "effect", "logit_difference_injected": 80.0} for row in population]
    fit = [
        {"prompt": "info", "vector": vector, "answers": "words"}
        | {"control_shift": CONTROLS[vector], "detection_shift": ASKED[vector]}
        | dict(zip(("residual", "residual_low", "residual_high"), RESIDUALS[vector], strict=True))
        for vector in SHIFTS
    ]
    fit += [row | {"answers": "letters", "control_shift": 60.0, "residual_low": 60.0} for row in fit]
    fit += [row | {"vector": "random_1", "control_shift": 70.0, "residual_low": 70.0} for row in fit]
    content = [
        {"prompt": "info", "vector": vector, "token": token, "layer": layer}
        | {"p_injected": 0.5 if (token == NAMED[vector]) == (layer == 4) else 0.1 + 0.01 * place}
        for vector, (place, token), layer in product(SHIFTS, enumerate(SHIFTS), (3, 4))
    ]
    content += [row | {"vector": "random_1", "p_injected": 0.9} for row in content]
    summary = [
        {"prompt": "info", "kind": kind, "matching": matching}
        | {"auc": low + 0.05, "auc_low": low, "auc_high": low + 0.125}
        for (kind, matching), low in {**AUC, ("coherent", "norm"): 0.1, ("random", "neither"): 0.2}.items()
    ]
    detection = [{"prompt": "info", "p_yes_base": 0.125}]

    def among_others(rows: list[dict], column: str, to: float) -> pd.DataFrame:
        """Rows of another prompt before them, with other numbers."""
        return pd.DataFrame([row | {"prompt": "no_info", column: to} for row in rows] + rows)

    return Tables(
        prompt="info",
        can_answer=True,
        accuracy=0.8125,
        detection=among_others(detection, "p_yes_base", 0.9),
        written=among_others(written, "logit_difference_base", 90.0),
        population=among_others(population, "logit_difference_injected", 90.0),
        population_summary=among_others(summary, "auc_low", 0.0),
        battery_fit=among_others(fit, "residual_low", 90.0),
        content=among_others(content, "p_injected", 1.0),
    )


def found(test: str, given: Tables | None = None, **rule: float) -> Finding:
    return TESTS[test](given or tables(), RULE.model_copy(update=rule))


def interval(draw: Callable[[np.random.Generator], float]) -> tuple[object, object]:
    """The central four fifths of what is drawn, about."""
    generator = np.random.default_rng(1)
    low, high = np.quantile([draw(generator) for _ in range(20000)], [0.1, 0.9])
    return pytest.approx(low, abs=0.05), pytest.approx(high, abs=0.05)


@pytest.mark.parametrize("test", TESTS)
def test_each_test_says_what_it_measured_what_was_drawn_anew_and_what_it_takes(test: str) -> None:
    finding = found(test)
    assert (finding.measured, finding.resampled, finding.rule) == SAID[test]


@pytest.mark.parametrize(("test", "number"), [("answers", 0.8125), ("unasked", 0.125)])
def test_what_is_not_resampled_has_no_interval(test: str, number: float) -> None:
    finding = found(test)
    assert finding.number == number and math.isnan(finding.low) and math.isnan(finding.high)


def test_the_written_word_is_held_against_the_sentence_about_nothing() -> None:
    finding, shifts = found("text"), list(BY_WORD.values())
    assert finding.number == pytest.approx(fmean(shifts))
    assert (finding.low, finding.high) == interval(lambda draw: float(draw.choice(shifts, len(shifts)).mean()))
    assert finding.passed
    # 0.42 nats are below 1.5; where they are not, they may still be below the injection's 0.125, which they are not
    assert found("text", moved_at_least=fmean(shifts) + 1e-6).passed and not found("text", moved_at_least=0.4).passed
    stronger = tables().written
    stronger.loc[stronger["written"] == "none", "logit_difference_injected"] += 0.5
    assert found("text", replace(tables(), written=stronger), moved_at_least=0.4).passed


def test_concepts_move_by_the_median_of_their_shifts_at_equal_norm() -> None:
    finding, shifts = found("moved"), list(SHIFTS.values())
    assert finding.number == median(shifts) == 3.0
    assert (finding.low, finding.high) == interval(lambda draw: float(np.median(draw.choice(shifts, len(shifts)))))
    assert found("moved", moved_at_least=3.0).passed and not found("moved", moved_at_least=3.0001).passed


def test_a_leaning_is_the_mean_share_of_the_concepts_answered_in_words() -> None:
    finding, shares = found("leaning"), [CONTROLS[each] / ASKED[each] for each in SHIFTS]
    assert finding.number == pytest.approx(fmean(shares)) == 0.18125
    assert (finding.low, finding.high) == interval(lambda draw: float(draw.choice(shares, len(shares)).mean()))
    fit = tables().battery_fit
    below = replace(tables(), battery_fit=fit.assign(residual_low=0.0))
    assert found("leaning", below, leaning_below=0.1813).passed
    assert not found("leaning", below, leaning_below=finding.number).passed
    assert found("leaning", leaning_below=0.1).passed  # the residual's lower ends have a median of 0.55


def test_a_battery_that_moves_nothing_has_no_share_to_lean_by() -> None:
    fit = tables().battery_fit
    some = fit.assign(detection_shift=fit["detection_shift"].where(fit["vector"] == "cat", 0.0), residual_low=-1.0)
    with pytest.warns(DegenerateDataWarning):
        finding = found("leaning", replace(tables(), battery_fit=some))
    assert math.isnan(finding.number) and not finding.passed


def test_the_kind_hardest_to_tell_from_concepts_decides() -> None:
    finding = found("disturbance")
    assert (finding.number, finding.low, finding.high) == pytest.approx((0.77, 0.72, 0.845))
    assert found("disturbance", auc_at_least=0.72).passed and not found("disturbance", auc_at_least=0.73).passed


def test_of_kinds_as_hard_the_first_is_named() -> None:
    summary = tables().population_summary.assign(auc_low=0.5)
    assert found("disturbance", replace(tables(), population_summary=summary)).measured == (
        "AUC of concepts against random directions, equal norm"
    )


def test_a_part_of_concepts_is_a_share_of_their_median() -> None:
    concepts, centred = list(SHIFTS.values()), list(CENTRED.values())
    parts, whole = found("shared"), found("rest")
    assert parts.number == pytest.approx(median(centred) / 3.0) and whole.number == pytest.approx(SHARED / 3.0)

    def of_centred(draw: np.random.Generator) -> float:
        return float(np.median(draw.choice(centred, 4)) / np.median(draw.choice(concepts, 4)))

    assert (parts.low, parts.high) == interval(of_centred)
    assert (whole.low, whole.high) == interval(lambda draw: SHARED / float(np.median(draw.choice(concepts, 4))))
    assert parts.passed and not found("shared", centred_at_least=0.42).passed
    assert whole.passed and not found("rest", shared_at_least=0.42).passed
    assert found("rest", shared_at_least=whole.number).passed and found("shared", centred_at_least=parts.number).passed


@pytest.mark.parametrize("test", ["shared", "rest"])
@pytest.mark.parametrize("by", [-3.0, -4.0])
def test_there_is_no_share_of_what_is_no_shift(test: str, by: float) -> None:
    population = tables().population
    population["logit_difference_injected"] += by
    finding = found(test, replace(tables(), population=population))
    assert all(math.isnan(each) for each in (finding.number, finding.low, finding.high)) and not finding.passed


def test_a_small_shift_has_shares_too() -> None:
    population = tables().population
    population["logit_difference_injected"] -= 2.5
    assert found("rest", replace(tables(), population=population)).number == (SHARED - 2.5) / 0.5


def test_two_directions_vary() -> None:
    population = tables().population
    two = population[(population["kind"] != "concept") | population["vector"].isin(["cat", "bread"])]
    moved = found("moved", replace(tables(), population=two))
    assert (moved.number, moved.low, moved.high) == (2.75, 2.0, 3.5)


def test_one_direction_of_a_kind_cannot_vary() -> None:
    population = tables().population
    alone = population[(population["kind"] != "concept") | (population["vector"] == "cat")]
    moved, whole = (found(test, replace(tables(), population=alone)) for test in ("moved", "rest"))
    assert (moved.number, moved.low, moved.high) == (2.0, 2.0, 2.0)
    assert (whole.number, whole.low, whole.high) == (0.625, 0.625, 0.625)


def test_the_median_concept_stands_for_what_is_beyond_the_controls() -> None:
    finding = found("wording")
    assert (finding.number, finding.low, finding.high) == pytest.approx((1.5, 0.55, 2.0))
    fit = tables().battery_fit
    nothing = replace(tables(), battery_fit=fit.assign(residual_low=fit["residual_low"] - 0.55))
    assert finding.passed and not found("wording", nothing).passed


def test_a_concept_is_named_where_its_token_gained_most_in_the_last_layer() -> None:
    finding = found("naming")
    assert finding.number == 0.75 and finding.passed and not found("naming", named_at_least=0.76).passed
    assert found("naming", named_at_least=0.75).passed
    z, share, count = 1.2815515655446004, 0.75, 4  # Wilson's interval of four fifths
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    assert (finding.low, finding.high) == pytest.approx((middle - half, middle + half))


def test_a_yes_as_likely_as_is_allowed_passes() -> None:
    assert found("unasked", unasked_at_most=0.125).passed and not found("unasked", unasked_at_most=0.12).passed
    assert not found("answers", replace(tables(), can_answer=False)).passed
