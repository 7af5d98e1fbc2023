"""What an injection does to control questions as a line, and what of the detection questions that line leaves.

Of a question, l is the logit of yes less that of no with nothing injected, in nats, and D its shift under an injection.
Over the control questions, D = a + (b - 1) l: the bias a is what leans all answers to yes, and b below 1 draws them
together. Neither knows what a question means. The residual of a detection question is the rest of its D; a reversed
question counts with its sign turned, so that a leaning, whatever its size, cancels in a wording and its reversal. The
bootstrap draws such pairs, so that what moves all questions of one frame is no spread of what is found.

All is done apart for questions answered in words and in letters: a leaning to the word yes is none to a letter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from introspection.intervals import bootstrap_interval
from introspection.settings import BatterySettings
from introspection.stimuli.battery import CONTROLS, DETECTION

Numbers = NDArray[np.float64]

INTERVALS = {"bias": "bias", "slope": "slope", "signed_shift": "signed", "residual": "residual"}
"""The estimates that have an interval, and what the columns of its ends begin with."""


def battery_fit(battery: pd.DataFrame, rule: BatterySettings) -> pd.DataFrame:
    """The rows of `battery_fit.csv`: what is injected, prompt and kind of answers, in the order of the table."""
    return pd.DataFrame(
        [keys | _fit(questions, rule) | _answered(questions) for keys, questions in _parts(battery)]
    ).reset_index(drop=True)


def battery_phrasings(battery: pd.DataFrame) -> pd.DataFrame:
    """The rows of `battery_phrasings.csv`: every detection question beside what the line says of it."""
    return pd.concat([_phrasings(questions) for _, questions in _parts(battery)], ignore_index=True)


def line(level: Numbers, shift: Numbers) -> tuple[Numbers, Numbers]:
    """Bias a and slope b of the least-squares line D = a + (b - 1) l, (..., questions) to (...,) each.

    Raises ValueError where the unsteered answers to all questions are the same: then no line is to be told from others.
    """
    deviation = level - level.mean(axis=-1, keepdims=True)
    spread = (deviation**2).sum(axis=-1)
    if not np.all(spread > 0):
        raise ValueError(
            "the control questions' unsteered answers do not differ, so no line fits their shifts: ask more"
        )
    tilt = (deviation * shift).sum(axis=-1) / spread
    return shift.mean(axis=-1) - tilt * level.mean(axis=-1), 1 + tilt


def _parts(battery: pd.DataFrame) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    keys = ["vector", "prompt", "answers"]
    shift = battery["logit_difference_injected"] - battery["logit_difference_base"]
    table = battery.assign(level=battery["logit_difference_base"], shift=shift)
    for values, questions in table.groupby(keys, sort=False):
        yield dict(zip(keys, map(str, values), strict=True)), questions.reset_index(drop=True)


def _fit(questions: pd.DataFrame, rule: BatterySettings) -> dict[str, Any]:
    """The estimates and their intervals, for which pairs are drawn anew, and the control questions of each group."""
    detection = questions["group"] == DETECTION
    level, shift = (questions[name].to_numpy(np.float64) for name in ("level", "shift"))
    sides = [
        questions[questions["polarity"] == sign].sort_values("pair", kind="stable").index.to_numpy() for sign in (1, -1)
    ]
    strata = [np.arange(len(sides[0]))]
    strata += [np.flatnonzero(questions["group"] == group) for group in CONTROLS.values()]

    def estimates(pairs: NDArray[Any], *groups: NDArray[Any], axis: int = -1) -> Numbers:
        """Those of these pairs and control questions, (..., drawn) of each to (estimates, ...)."""
        controls = np.concatenate(groups, axis=axis).astype(int)
        something, nothing = (side[pairs.astype(int)] for side in sides)
        bias, slope = line(level[controls], shift[controls])

        signed = (shift[something] - shift[nothing]).mean(axis=-1) / 2
        predicted = (slope - 1) * (level[something] - level[nothing]).mean(axis=-1) / 2  # the bias is in both
        mean = (shift[something] + shift[nothing]).mean(axis=-1) / 2
        return np.stack([bias, slope, shift[controls].mean(axis=-1), mean, signed, predicted, signed - predicted])

    names = ("bias", "slope", "control_shift", "detection_shift", "signed_shift", "predicted", "residual")
    found = dict(zip(names, estimates(*strata), strict=True))
    low, high = bootstrap_interval(strata, estimates, rule)  # the same questions are drawn for every injection
    ends = {
        f"{INTERVALS[name]}_{end}": float(values[place])
        for end, values in (("low", low), ("high", high))
        for place, name in enumerate(names)
        if name in INTERVALS
    }
    return {"controls": int((~detection).sum()), "phrasings": int(detection.sum()), **found, **ends}


def _answered(questions: pd.DataFrame) -> dict[str, float]:
    """How often control questions are answered rightly, and how much probability both answers have, in both arms."""
    detection = questions["group"] == DETECTION
    found = {}
    for arm in ("base", "injected"):
        answer = np.sign(questions[f"logit_difference_{arm}"])  # 0, a tie, is no answer
        shares = [(answer[questions["group"] == group] == sign).mean() for group, sign in _RIGHT.items()]
        found[f"accuracy_{arm}"] = sum(shares) / len(shares)
        for name, which in (("control", ~detection), ("detection", detection)):
            found[f"{name}_mass_{arm}"] = questions.loc[which, f"answer_mass_{arm}"].mean()
    return found


_RIGHT = {CONTROLS["yes"]: 1, CONTROLS["no"]: -1}
"""The sign of the right answer, by group."""


def _phrasings(questions: pd.DataFrame) -> pd.DataFrame:
    detection = questions["group"] == DETECTION
    controls = questions[~detection]
    bias, slope = line(controls["level"].to_numpy(np.float64), controls["shift"].to_numpy(np.float64))
    asked = questions[detection]
    predicted = bias + (slope - 1) * asked["level"]
    columns = ["vector", "prompt", "item", "format", "answers", "polarity", "level", "shift"]
    return asked[columns].assign(predicted=predicted, residual=asked["shift"] - predicted)
