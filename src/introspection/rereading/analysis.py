"""The study's own figures read again: its tables in log-odds, with what its two roundings leave open.

Every figure of a detection table is taken as a softmax over bfloat16 logits, rounded to bfloat16 and then printed in
percent. `grid_test`, `significands` and `differences` put that to the test. What follows from it needs no more:

- The log-odds of yes, ln(p / (1 - p)), follow from p_yes alone, whatever the other tokens have.
- The difference of the two logits, ln(p_yes / p_no), follows from both figures; the other tokens cancel. It differs
  from the log-odds only by the probability of the other tokens, which `grid_test` bounds.

The logits themselves are rounded before that softmax is taken: each of the two may lie half a step of the grid off, so
the log-odds of an arm are open by a whole step more, those of a shift by two, and the difference of two shifts by four.
Every interval below holds that, but for those of the tests of the grid, which is about the rounded logits.

A shift takes its two ends as independent, which makes its interval wider than it need be where two shifts share an
unsteered end: a verdict of `undecided` errs on the side of caution. Values are in nats.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd

from introspection.rereading import tables
from introspection.rereading.rounding import (
    Interval,
    allowed_probability,
    bfloat16_spacing,
    logit,
    printed_bfloat16s,
    printed_quantum,
    round_to_bfloat16,
    sigmoid,
)
from introspection.tables import Table

KEY = ["vector", "prompt", "strength", "first_layer", "last_layer"]
PLACE = ["vector", "prompt", "first_layer", "last_layer"]  # names a row of a table in comparisons.csv
SPACINGS = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125)
SPACING = 0.125  # nats; of bfloat16 logits from 16 to 32
CONTROLS = "controls"  # stands for a prompt in comparisons.csv: the mean of the control questions

Row = Mapping[str, Any]


class PublishedError(ValueError):
    """A published comparison that cannot be judged; the message says what it names."""


@dataclass(frozen=True)
class Published:
    """The tables of data/published as written there: every cell a string with its digits, empty where not given."""

    detection: pd.DataFrame
    controls: pd.DataFrame
    comparisons: pd.DataFrame


def read_published(folder: Path) -> Published:
    """Read detection, controls and comparisons.csv. Raises ResultError for a missing or broken file."""
    declared = (tables.POST_DETECTION, tables.POST_CONTROLS, tables.POST_COMPARISONS)
    return Published(*(table.read(folder / table.name, "it ships with the repository") for table in declared))


def read_again(published: Published) -> list[tuple[Table, pd.DataFrame]]:
    """Everything that is computed from the published figures, with the result file that each goes to."""
    detection = published.detection
    return [
        (tables.SHIFTS, shifts(detection)),
        (tables.GRID, grid_test(detection)),
        (tables.SPACINGS, spacings(detection)),
        (tables.SIGNIFICANDS, significands(detection)),
        (tables.DIFFERENCES, differences(detection)),
        (tables.CONTROLS, control_shifts(published.controls)),
        (tables.COMPARISONS, comparisons(published)),
        (tables.REVERSALS, reversals(detection)),
        (tables.PROMPT_EFFECTS, prompt_effects(detection)),
        (tables.DISAGREEMENTS, disagreements(detection)),
        (tables.SUMMARY, summary(published)),
    ]


def shifts(detection: pd.DataFrame) -> pd.DataFrame:
    """Each row of the detection tables in log-odds: unsteered, injected and the shift, with the intervals.

    Columns: the key; the printed p_yes_base_bf16, p_yes_injected_bf16, p_yes_shift; then for each of log_odds_base,
    log_odds_injected and log_odds_shift the value at the printed figures and the ends `_low`, `_high` that all
    roundings allow; logit_shift, the whole number of grid steps between the two arms times the step; source.
    """
    steps = _steps_by_softmax(detection)
    rows = []
    for row in _rows(detection):
        base, injected = _log_odds(row["p_yes_base_bf16"]), _log_odds(row["p_yes_injected_bf16"])
        at_base, at_injected = logit(float(row["p_yes_base_bf16"])), logit(float(row["p_yes_injected_bf16"]))
        rows.append(
            {column: row[column] for column in (*KEY, "p_yes_base_bf16", "p_yes_injected_bf16", "p_yes_shift")}
            | _columns("log_odds_base", base, at_base)
            | _columns("log_odds_injected", injected, at_injected)
            | _columns("log_odds_shift", injected - base, at_injected - at_base)
            | {"logit_shift": (steps[_softmax(row, "injected")] - steps[_softmax(row, "base")]) * SPACING}
            | {"source": row["source"]}
        )
    return pd.DataFrame(rows)


def grid_test(detection: pd.DataFrame, spacing: float = SPACING) -> pd.DataFrame:
    """Each softmax of the tables against the claim that the two logits differ by a multiple of `spacing` nats.

    An unsteered softmax that several rows print counts once (vector `unsteered`). Columns: vector, prompt, strength,
    first_layer, last_layer, source; the printed p_yes and p_no; log_odds_low, log_odds_high; logit_difference_low,
    logit_difference_high: what both roundings allow for ln(p_yes / p_no), the other tokens cancelled; steps, grid: the
    nearest multiple; other_mass_low, other_mass_high: what the other tokens may have together if that is the
    difference, given both figures (empty where it cannot be); fits: a multiple lies in the interval and leaves the
    other tokens a mass that is not negative; chance: the probability that an interval of this width, laid down
    anywhere, holds a multiple.
    """
    rows = []
    for softmax in _softmaxes(detection):
        p_yes, p_no = allowed_probability(softmax["p_yes"]), allowed_probability(softmax["p_no"])
        difference = p_yes.map(math.log) - p_no.map(math.log)
        middle = (difference.low + difference.high) / 2 / spacing
        inside = range(math.ceil(difference.low / spacing), math.floor(difference.high / spacing) + 1)
        masses = {steps: _other_mass(p_yes, p_no, steps * spacing) for steps in inside}
        possible = [steps for steps, mass in masses.items() if mass.low <= mass.high]
        steps = min(possible, key=lambda step: abs(step - middle), default=round(middle))
        rows.append(
            dict(softmax)
            | _columns("log_odds", p_yes.map(logit))
            | _columns("logit_difference", difference)
            | {"steps": steps, "grid": steps * spacing}
            | _columns("other_mass", masses[steps] if possible else Interval(math.nan, math.nan))
            | {"fits": bool(possible), "chance": min(1.0, (difference.high - difference.low) / spacing)}
        )
    return pd.DataFrame(rows)


def spacings(detection: pd.DataFrame, candidates: Iterable[float] = SPACINGS) -> pd.DataFrame:
    """The grid test for several spacings: which is the coarsest that every softmax fits?

    Logits from 128 to 256 times a spacing are that far apart in bfloat16, and two logits differ by a multiple of the
    smaller one's spacing. So where all pairs fit, neither logit lies below that range; a pair that does not fit twice
    the spacing has a logit in it. A finer spacing fits as well, by necessity. Columns: spacing, logits_from, logits_to,
    softmaxes, fits, expected_by_chance, chance: the probability of at least so many fits if each difference of logits
    lay anywhere, independently of the others.
    """
    rows = []
    for spacing in candidates:
        test = grid_test(detection, spacing)
        fits = int(test["fits"].sum())
        rows.append(
            {"spacing": spacing, "logits_from": 128 * spacing, "logits_to": 256 * spacing, "softmaxes": len(test)}
            | {"fits": fits, "expected_by_chance": float(test["chance"].sum())}
            | {"chance": _at_least(fits, list(test["chance"]))}
        )
    return pd.DataFrame(rows)


def significands(detection: pd.DataFrame) -> pd.DataFrame:
    """Each printed probability against the claim that it is a bfloat16 number, of 8 significant bits.

    Columns: vector, prompt, strength, first_layer, last_layer, source; answer, printed; candidates: how many bfloat16
    numbers print so; bfloat16: the one nearest to the printed figure; fits; chance: the share of figures of that size
    and with as many digits that some bfloat16 number prints as.
    """
    rows = []
    for softmax in _softmaxes(detection):
        for answer in ("yes", "no"):
            printed = softmax[f"p_{answer}"]
            numbers = printed_bfloat16s(printed)
            nearest = round_to_bfloat16(Fraction(printed))
            spacing_below = bfloat16_spacing(nearest * Fraction(511, 512))
            rows.append(
                {column: softmax[column] for column in (*KEY, "source")}
                | {"answer": answer, "printed": printed, "candidates": len(numbers), "bfloat16": float(nearest)}
                | {"fits": bool(numbers)}
                | {"chance": min(1.0, float(printed_quantum(printed) / spacing_below))}
            )
    return pd.DataFrame(rows)


def differences(detection: pd.DataFrame) -> pd.DataFrame:
    """How the printed differences were made: of the printed figures, of bfloat16 numbers, or rounded once more?

    Columns: the key, source; answer; base, injected, difference as printed; of_printed: it is the difference of the
    two printed figures; of_bfloat16: of two bfloat16 numbers that print so; rounded_again: of two such numbers, itself
    rounded to bfloat16.
    """
    rows = []
    for row in _rows(detection):
        for answer in ("yes", "no"):
            base, injected, printed = (
                row[f"p_{answer}_base_bf16"],
                row[f"p_{answer}_injected_bf16"],
                row[f"p_{answer}_shift"],
            )
            exact = [b - a for a in printed_bfloat16s(base) for b in printed_bfloat16s(injected)]
            rows.append(
                {column: row[column] for column in (*KEY, "source")}
                | {"answer": answer, "base": base, "injected": injected, "difference": printed}
                | {"of_printed": Decimal(injected) - Decimal(base) == Decimal(printed)}
                | {"of_bfloat16": any(_prints_as(value, printed) for value in exact)}
                | {"rounded_again": any(_prints_as(round_to_bfloat16(value), printed) for value in exact)}
            )
    return pd.DataFrame(rows)


def control_shifts(controls: pd.DataFrame) -> pd.DataFrame:
    """The means over the control questions in log-odds.

    A mean of probabilities is ruled by the questions that are answered yes most, and its log-odds are not the mean of
    the questions' log-odds, which the study does not give. Each probability of the mean, and perhaps the mean, is
    rounded to bfloat16 before printing, so a part in 256 is added to what printing allows; that each question's logits
    are rounded moves the log-odds of the mean by no more than it does those of a question. Columns: vector, strength,
    first_layer, last_layer; the printed p_yes_base_bf16, p_yes_injected_bf16, p_yes_shift; log_odds_base,
    log_odds_injected and log_odds_shift as in `shifts`; source.
    """
    rows = []
    for row in _rows(controls):
        base, injected = (_open(_mean(row[f"p_yes_{arm}_bf16"]).map(logit)) for arm in ("base", "injected"))
        at_base, at_injected = logit(float(row["p_yes_base_bf16"])), logit(float(row["p_yes_injected_bf16"]))
        rows.append(
            {column: row[column] for column in ("vector", *KEY[2:])}
            | {column: row[column] for column in ("p_yes_base_bf16", "p_yes_injected_bf16", "p_yes_shift")}
            | _columns("log_odds_base", base, at_base)
            | _columns("log_odds_injected", injected, at_injected)
            | _columns("log_odds_shift", injected - base, at_injected - at_base)
            | {"source": row["source"]}
        )
    return pd.DataFrame(rows)


def comparisons(published: Published) -> pd.DataFrame:
    """What the study's words compare, judged in probability and in log-odds.

    `left` is said to be above `right` in a quantity: `injected` (p_yes under injection), `shift` (less the unsteered
    p_yes) or `lift` (the shift with the named prompt less the one with no_info). The prompt `controls` stands for the
    mean of the control questions, with the caution of `control_shifts`. Columns: comparison, source,
    quantity, the key of both sides; for each side and scale (`probability`, `log_odds`) the ends of what the
    roundings allow; in_probability, in_log_odds: `holds`, `reversed` or, where the intervals overlap, `undecided`;
    changes: the two differ; quote. Raises PublishedError where a comparison names no row of the tables.
    """
    places: dict[tuple[str, ...], tuple[Interval, Interval]] = {}
    for row in _rows(published.detection):
        place = tuple(row[column] for column in PLACE)
        places[place] = (_log_odds(row["p_yes_base_bf16"]), _log_odds(row["p_yes_injected_bf16"]))
    for row in _rows(published.controls):
        place = (row["vector"], CONTROLS, row["first_layer"], row["last_layer"])
        base, injected = (_open(_mean(row[f"p_yes_{arm}_bf16"]).map(logit)) for arm in ("base", "injected"))
        places[place] = (base, injected)

    def value(place: tuple[str, ...], quantity: str, log_odds: bool) -> Interval:
        if place not in places:
            raise PublishedError(f"comparisons.csv: no row {' '.join(place)} in detection.csv or controls.csv")
        base, injected = (arm if log_odds else arm.map(sigmoid) for arm in places[place])
        if quantity == "injected":
            return injected
        if quantity == "shift":
            return injected - base
        if quantity == "lift":
            vector, _, *layers = place
            return (injected - base) - value((vector, "no_info", *layers), "shift", log_odds)
        raise PublishedError(f"comparisons.csv: quantity {quantity!r}; allowed: injected, shift, lift")

    rows = []
    for row in _rows(published.comparisons):
        left, right = (tuple(row[f"{side}_{column}"] for column in PLACE) for side in ("left", "right"))
        judged = {column: row[column] for column in published.comparisons.columns if column != "quote"}
        for scale in ("probability", "log_odds"):
            ends = [value(place, row["quantity"], scale == "log_odds") for place in (left, right)]
            judged |= _columns(f"left_{scale}", ends[0]) | _columns(f"right_{scale}", ends[1])
            judged[f"in_{scale}"] = _verdict(*ends)
        judged["changes"] = judged["in_probability"] != judged["in_log_odds"]
        rows.append(judged | {"quote": row["quote"]})
    return pd.DataFrame(rows)


def reversals(detection: pd.DataFrame) -> pd.DataFrame:
    """All pairs of rows whose yes shifts have one order in probability and the other in log-odds, beyond rounding.

    Columns: the key of both with `above_` (larger in probability) and `below_` (larger in log-odds), and for each the
    shift's ends on both scales.
    """
    read = []
    for row in _rows(detection):
        base, injected = _log_odds(row["p_yes_base_bf16"]), _log_odds(row["p_yes_injected_bf16"])
        read.append((row, injected.map(sigmoid) - base.map(sigmoid), injected - base))
    rows = []
    for (row, probability, log_odds), (other, other_probability, other_log_odds) in itertools.permutations(read, 2):
        if probability.low > other_probability.high and log_odds.high < other_log_odds.low:
            rows.append(
                {f"above_{column}": row[column] for column in KEY}
                | {f"below_{column}": other[column] for column in KEY}
                | _columns("above_probability", probability)
                | _columns("below_probability", other_probability)
                | _columns("above_log_odds", log_odds)
                | _columns("below_log_odds", other_log_odds)
            )
    return pd.DataFrame(rows)


def prompt_effects(detection: pd.DataFrame) -> pd.DataFrame:
    """What a prompt does to p_yes under injection, as a move of the unsteered log-odds plus a change of the shift.

    For every vector and range, the info prompt against each of the others. Columns: vector, strength, first_layer,
    last_layer, prompt, against; the ends of injected (the difference of the log-odds under injection), baseline (of
    the unsteered ones) and shift (of the shifts), in nats: injected = baseline + shift.
    """
    rows = []
    for _, group in detection.groupby(["vector", "strength", "first_layer", "last_layer"], sort=False):
        by_prompt = {row["prompt"]: row for row in _rows(group)}
        if "info" not in by_prompt:
            continue
        info = by_prompt.pop("info")
        for prompt, row in by_prompt.items():
            injected = _log_odds(info["p_yes_injected_bf16"]) - _log_odds(row["p_yes_injected_bf16"])
            baseline = _log_odds(info["p_yes_base_bf16"]) - _log_odds(row["p_yes_base_bf16"])
            rows.append(
                {column: info[column] for column in ("vector", *KEY[2:])}
                | {"prompt": "info", "against": prompt}
                | _columns("injected", injected)
                | _columns("baseline", baseline)
                | _columns("shift", injected - baseline)
            )
    return pd.DataFrame(rows)


def disagreements(detection: pd.DataFrame) -> pd.DataFrame:
    """The unsteered figures of one prompt that different tables print: the same conversation, so the same number?

    Columns: prompt, answer; printed, source and other_printed, other_source; agrees: some probability prints as both;
    the ends of log_odds and other_log_odds of the answer and of difference (the other less the first), in nats, empty
    where the answer may have the whole probability; steps: the difference of the two on the grid.
    """
    steps = _steps_by_softmax(detection)
    rows = []
    for prompt, group in _unsteered(detection).groupby("prompt", sort=False):
        for one, other in itertools.combinations(_rows(group), 2):
            for answer in ("yes", "no"):
                printed, other_printed = one[f"p_{answer}"], other[f"p_{answer}"]
                allowed = [allowed_probability(figure) for figure in (printed, other_printed)]
                log_odds = [end.map(logit) if end.high < 1 else Interval(math.nan, math.nan) for end in allowed]
                rows.append(
                    {"prompt": prompt, "answer": answer, "printed": printed, "source": one["source"]}
                    | {"other_printed": other_printed, "other_source": other["source"]}
                    | {"agrees": allowed[0].overlaps(allowed[1])}
                    | _columns("log_odds", log_odds[0])
                    | _columns("other_log_odds", log_odds[1])
                    | _columns("difference", log_odds[1] - log_odds[0])
                    | {"steps": (steps[_key(other)] - steps[_key(one)]) * (1 if answer == "yes" else -1)}
                )
    return pd.DataFrame(rows)


def summary(published: Published) -> pd.DataFrame:
    """The counts and extremes that a reader wants first. Columns: quantity, value."""
    detection = published.detection
    grid, finer = grid_test(detection), significands(detection)
    made, judged = differences(detection), comparisons(published)
    values: dict[str, float] = {
        "softmaxes": len(grid),
        "grid_spacing": SPACING,
        "grid_fits": int(grid["fits"].sum()),
        "grid_expected_by_chance": float(grid["chance"].sum()),
        "grid_chance": _at_least(int(grid["fits"].sum()), list(grid["chance"])),
        "grid_widest_interval": float((grid["logit_difference_high"] - grid["logit_difference_low"]).max()),
        "other_mass_at_least": float(grid["other_mass_low"].max()),
        "other_mass_at_most": float(grid["other_mass_high"].max()),
        "figures": len(finer),
        "figures_fit": int(finer["fits"].sum()),
        "figures_expected_by_chance": float(finer["chance"].sum()),
        "figures_chance": _at_least(int(finer["fits"].sum()), list(finer["chance"])),
        "differences": len(made),
        "differences_of_printed": int(made["of_printed"].sum()),
        "differences_of_bfloat16": int(made["of_bfloat16"].sum()),
        "differences_rounded_again": int(made["rounded_again"].sum()),
        "comparisons": len(judged),
        "quotes": judged["quote"].nunique(),
    }
    for scale in ("probability", "log_odds"):
        for verdict in ("holds", "reversed", "undecided"):
            values[f"comparisons_{verdict}_in_{scale}"] = int((judged[f"in_{scale}"] == verdict).sum())
        of_quotes = judged.groupby("quote")[f"in_{scale}"].agg(verdict_of_quote)
        for verdict in ("holds", "reversed", "undecided"):
            values[f"quotes_{verdict}_in_{scale}"] = int((of_quotes == verdict).sum())
    values["comparisons_that_change"] = int(judged["changes"].sum())
    values["reversals"] = len(reversals(detection))
    return pd.DataFrame({"quantity": list(values), "value": list(values.values())})


def verdict_of_quote(verdicts: pd.Series[str]) -> str:
    """A quote that compares several cells holds where it holds in all, and is reversed where it is in any."""
    found = set(verdicts)
    return "reversed" if "reversed" in found else "holds" if found == {"holds"} else "undecided"


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(column): value for column, value in row.items()} for row in table.to_dict("records")]


def _columns(name: str, interval: Interval, value: float | None = None) -> dict[str, float]:
    return ({} if value is None else {name: value}) | {f"{name}_low": interval.low, f"{name}_high": interval.high}


def _log_odds(printed: str) -> Interval:
    """Of yes, in nats, as the logits before their rounding may have given it."""
    return _open(allowed_probability(printed).map(logit))


def _open(log_odds: Interval) -> Interval:
    """With half a step of the grid for each of the two logits of an arm."""
    return Interval(log_odds.low - SPACING, log_odds.high + SPACING)


def _other_mass(p_yes: Interval, p_no: Interval, difference: float) -> Interval:
    """What all other tokens may have when the logits of yes and no differ so; empty (low > high) where nothing does.

    p_yes = (1 - mass) sigmoid(difference) and p_no = (1 - mass) sigmoid(-difference).
    """
    share_yes, share_no = sigmoid(difference), sigmoid(-difference)
    low = 1 - min(p_yes.high / share_yes, p_no.high / share_no)
    return Interval(max(0.0, low), 1 - max(p_yes.low / share_yes, p_no.low / share_no))


def _mean(printed: str) -> Interval:
    middle, half = Fraction(printed), printed_quantum(printed) / 2
    return Interval(float((middle - half) * Fraction(255, 256)), float((middle + half) * Fraction(257, 256)))


def _prints_as(value: Fraction, printed: str) -> bool:
    return abs(value - Fraction(printed)) <= printed_quantum(printed) / 2


def _verdict(left: Interval, right: Interval) -> str:
    if left.overlaps(right):
        return "undecided"
    return "holds" if left.low > right.high else "reversed"


def _unsteered(detection: pd.DataFrame) -> pd.DataFrame:
    """The unsteered softmaxes, once each: the rows of one prompt with the same figures are one."""
    softmaxes: dict[tuple[str, str, Decimal], dict[str, Any]] = {}
    for row in _rows(detection):
        p_yes, p_no, sources = row["p_yes_base_bf16"], row["p_no_base_bf16"], row["source"].split("; ")
        known = softmaxes.setdefault(
            (row["prompt"], p_yes, Decimal(p_no)),
            {"vector": "unsteered", "prompt": row["prompt"], "strength": "", "first_layer": "", "last_layer": ""}
            | {"source": [], "p_yes": p_yes, "p_no": p_no},
        )
        known["p_no"] = max(known["p_no"], p_no, key=len)  # 100% in one table is 100.000% in another
        known["source"] += [source for source in sources if source not in known["source"]]
    return pd.DataFrame([row | {"source": "; ".join(row["source"])} for row in softmaxes.values()])


def _softmaxes(detection: pd.DataFrame) -> list[dict[str, Any]]:
    """Every softmax of the tables once: the key, source, and the printed p_yes and p_no."""
    injected = [
        {column: row[column] for column in (*KEY, "source")}
        | {"p_yes": row["p_yes_injected_bf16"], "p_no": row["p_no_injected_bf16"]}
        for row in _rows(detection)
    ]
    return [*_rows(_unsteered(detection)), *injected]


def _key(softmax: Row) -> tuple[str, str, Decimal]:
    return softmax["prompt"], softmax["p_yes"], Decimal(softmax["p_no"])


def _softmax(row: Row, arm: str) -> tuple[str, str, Decimal]:
    return row["prompt"], row[f"p_yes_{arm}_bf16"], Decimal(row[f"p_no_{arm}_bf16"])


def _steps_by_softmax(detection: pd.DataFrame) -> dict[tuple[str, str, Decimal], int]:
    return {_key(row): int(row["steps"]) for row in _rows(grid_test(detection))}


def _at_least(count: int, chances: list[float]) -> float:
    """The probability of at least `count` successes in independent trials with these chances."""
    distribution = [1.0]  # of the number of successes so far
    for chance in chances:
        stay = [probability * (1 - chance) for probability in distribution] + [0.0]
        rise = [0.0] + [probability * chance for probability in distribution]
        distribution = [low + high for low, high in zip(stay, rise, strict=True)]
    return math.fsum(distribution[count:])
