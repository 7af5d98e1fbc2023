"""The number behind each test, with its interval, from result files alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from introspection import names
from introspection.experiments.population.tables import MATCHINGS, NORM
from introspection.experiments.written.statistics import effects
from introspection.intervals import bootstrap_interval
from introspection.settings import VerdictSettings

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Tables:
    """The result files that tests read, and the prompt that they are about.

    can_answer: by the rule of `competence`. accuracy, answer_mass: with nothing injected.
    """

    prompt: str
    can_answer: bool
    accuracy: float
    detection: pd.DataFrame
    written: pd.DataFrame
    population: pd.DataFrame
    population_summary: pd.DataFrame
    battery_fit: pd.DataFrame
    content: pd.DataFrame


@dataclass(frozen=True)
class Finding:
    """A number, its interval and whose it is, what it takes to pass, and whether it passes."""

    measured: str
    number: float
    low: float
    high: float
    resampled: str
    rule: str
    passed: bool


Test = Callable[[Tables, VerdictSettings], Finding]


def answers(tables: Tables, rule: VerdictSettings) -> Finding:
    """Can it answer questions whose answers are known?"""
    nan = float("nan")
    return Finding(
        "balanced accuracy on control questions, nothing injected",
        tables.accuracy,
        nan,
        nan,
        "not resampled",
        "the thresholds of competence",
        tables.can_answer,
    )


def unasked(tables: Tables, rule: VerdictSettings) -> Finding:
    """Does it say yes with nothing injected?"""
    p_yes = _under(tables.detection, tables.prompt)["p_yes_base"].iloc[0]
    return Finding(
        "probability of yes, nothing injected",
        float(p_yes),
        float("nan"),
        float("nan"),
        "not resampled",
        f"at most {rule.unasked_at_most:g}",
        bool(p_yes <= rule.unasked_at_most),
    )


def text(tables: Tables, rule: VerdictSettings) -> Finding:
    """Does the word in the text do what its injection does not?"""
    found = _under(effects(tables.written), tables.prompt)
    shifts = {arm: found.loc[found["arm"] == arm, "shift"].to_numpy(np.float64) for arm in ("text", "state")}
    mean, low, high = _interval(np.mean, shifts["text"], rule)
    return Finding(
        "shift of logit(yes) - logit(no) by the written word alone, nats",
        mean,
        low,
        high,
        "concepts and sentences",
        f"below {rule.moved_at_least:g}, or below the injection's",
        bool(mean < rule.moved_at_least or mean < shifts["state"].mean()),
    )


def moved(tables: Tables, rule: VerdictSettings) -> Finding:
    """Does an injected concept move the answer towards yes?"""
    median, low, high = _interval(np.median, _shifts(tables, "concept"), rule)
    return Finding(
        "median shift of logit(yes) - logit(no) under a concept, nats",
        median,
        low,
        high,
        "concepts",
        f"at least {rule.moved_at_least:g}",
        bool(median >= rule.moved_at_least),
    )


def leaning(tables: Tables, rule: VerdictSettings) -> Finding:
    """Do questions that have nothing to do with it move as much?"""
    fit = _concepts(_under(tables.battery_fit, tables.prompt))
    share = fit["control_shift"] / fit["detection_shift"].where(fit["detection_shift"].abs() > 0)
    mean, low, high = _interval(np.mean, share.to_numpy(np.float64), rule)
    return Finding(
        "shift of control questions as a share of the unsigned shift of the battery's",
        mean,
        low,
        high,
        "concepts",
        f"below {rule.leaning_below:g}, or the residual above nothing",
        bool(mean < rule.leaning_below or fit["residual_low"].median() > 0),
    )


def disturbance(tables: Tables, rule: VerdictSettings) -> Finding:
    """Would any direction of that size do? The kind of direction that is hardest to tell from concepts decides."""
    summary = _under(tables.population_summary, tables.prompt)
    asked = summary[summary["kind"].isin(rule.disturbances) & summary["matching"].isin(MATCHINGS)]
    hardest = asked.sort_values("auc_low", kind="stable").iloc[0]
    return Finding(
        f"AUC of concepts against {names.vector_label(str(hardest['kind']))}, equal {hardest['matching']}",
        float(hardest["auc"]),
        float(hardest["auc_low"]),
        float(hardest["auc_high"]),
        "directions",
        f"lower end at least {rule.auc_at_least:g} against each kind",
        bool(hardest["auc_low"] >= rule.auc_at_least),
    )


def _share_of(kind: str, measured: str, least: Callable[[VerdictSettings], float]) -> Test:
    """A test of what one part of concepts' vectors does, as a share of what they do."""

    def test(tables: Tables, rule: VerdictSettings) -> Finding:
        ratio, low, high = _ratio(_shifts(tables, kind), _shifts(tables, "concept"), rule)
        return Finding(measured, ratio, low, high, "concepts", f"at least {least(rule):g}", bool(ratio >= least(rule)))

    return test


def wording(tables: Tables, rule: VerdictSettings) -> Finding:
    """Does it answer what is asked, in other words and when they are reversed?"""
    fit = _concepts(_under(tables.battery_fit, tables.prompt))
    middle = fit[["residual", "residual_low", "residual_high"]].median()
    return Finding(
        "signed shift over wordings beyond what the controls explain, median concept, nats",
        float(middle["residual"]),
        float(middle["residual_low"]),
        float(middle["residual_high"]),
        "control questions and wordings",
        "lower end above 0",
        bool(middle["residual_low"] > 0),
    )


def naming(tables: Tables, rule: VerdictSettings) -> Finding:
    """Is the concept that it would name the injected one?"""
    last = _under(tables.content, tables.prompt)
    last = last[(last["layer"] == last["layer"].max()) & (last["vector"].map(names.kind_of) == "concept")]
    table = last.pivot(index="vector", columns="token", values="p_injected")
    right = int((table.idxmax(axis=1) == table.index).sum())
    low, high = proportion_confint(right, len(table), alpha=1 - rule.confidence, method="wilson")
    return Finding(
        f"share of {len(table)} concepts named before the others",
        right / len(table),
        float(low),
        float(high),
        "of a binomial share (Wilson)",
        f"at least {rule.named_at_least:g}",
        bool(right / len(table) >= rule.named_at_least),
    )


TESTS: Mapping[str, Test] = {
    "answers": answers,
    "unasked": unasked,
    "text": text,
    "moved": moved,
    "leaning": leaning,
    "disturbance": disturbance,
    # Is it no more than what all concepts' vectors share, and is it all but that?
    "shared": _share_of(
        "centred",
        "median shift of concepts without what they share, as a share of concepts'",
        lambda rule: rule.centred_at_least,
    ),
    "rest": _share_of(
        "shared",
        "shift of what concepts share, as a share of concepts' median",
        lambda rule: rule.shared_at_least,
    ),
    "wording": wording,
    "naming": naming,
}


def _under(table: pd.DataFrame, prompt: str) -> pd.DataFrame:
    return table[table["prompt"] == prompt]


def _concepts(fit: pd.DataFrame) -> pd.DataFrame:
    """The rows of the study's concepts, answered in words."""
    return fit[(fit["vector"].map(names.kind_of) == "concept") & (fit["answers"] == "words")]


def _shifts(tables: Tables, kind: str) -> Numbers:
    """The shifts of a kind's directions at equal norm, in nats."""
    rows = _under(tables.population, tables.prompt)
    rows = rows[(rows["kind"] == kind) & (rows["matching"] == NORM)]
    return (rows["logit_difference_injected"] - rows["logit_difference_base"]).to_numpy(np.float64)


def _ratio(above: Numbers, below: Numbers, rule: VerdictSettings) -> tuple[float, float, float]:
    """The ratio of two medians, each of what is drawn anew; no number where there is nothing to have a share of."""
    if np.median(below) <= 0:
        return float("nan"), float("nan"), float("nan")

    def ratio(upper: Numbers, lower: Numbers, axis: int = -1) -> Any:
        return np.median(upper, axis=axis) / np.median(lower, axis=axis)

    return _interval(ratio, above, rule, below)


def _interval(statistic: Any, values: Numbers, rule: VerdictSettings, *more: Numbers) -> tuple[float, float, float]:
    """A statistic and its percentile interval; the interval of what cannot vary is its value."""
    samples = (values, *more)
    found = float(statistic(*samples))
    varying = [sample for sample in samples if len(sample) > 1]
    if not varying:
        return found, found, found
    alone = {place: sample for place, sample in enumerate(samples) if len(sample) == 1}

    def drawn(*parts: Numbers, axis: int = -1) -> Any:
        given = iter(parts)
        return statistic(*(alone[place] if place in alone else next(given) for place in range(len(samples))), axis=axis)

    low, high = bootstrap_interval(varying, drawn, rule)
    return found, float(low), float(high)
