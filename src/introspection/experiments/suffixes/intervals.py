"""Intervals over suffixes: where the shift of yes lies when the vector is made of others."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from introspection.experiments.suffixes.resampling import HALVES, is_bootstrap
from introspection.intervals import percentile_interval
from introspection.tables import RANGE, names_of

UNIT = "suffixes"


def suffix_intervals(asked: pd.DataFrame, detection: pd.DataFrame, confidence: float, other: str) -> pd.DataFrame:
    """A row of `suffix_intervals.csv` for each concept and prompt of `suffix_detection.csv`.

    detection: the study's own answers. confidence: of the percentile interval; there is none where nothing was
    resampled. other: the kind of vectors with the sign of the other rule. Raises ValueError where the study has not
    asked a prompt, or has injected otherwise.
    """
    study = {
        (row["vector"], row["prompt"]): row for row in detection.assign(shift=_shift(detection)).to_dict("records")
    }
    rows: list[dict[str, Any]] = []
    for (vector, prompt), cell in asked.assign(shift=_shift(asked)).groupby(["vector", "prompt"], sort=False):
        first = cell.iloc[0]
        dose = {column: first[column] for column in names_of(RANGE)}
        own = study.get((vector, prompt), {})
        if {column: own.get(column) for column in dose} != dose:
            raise ValueError(f"{vector} under {prompt} was injected otherwise in detection.csv; make both files again")
        shift = {str(kind): float(value) for kind, value in zip(cell["kind"], cell["shift"], strict=True)}
        resampled = [value for kind, value in shift.items() if is_bootstrap(kind)]
        low, high = percentile_interval(resampled, confidence) if resampled else (math.nan, math.nan)
        one, two = (shift[half] for half in HALVES)
        rows.append(
            {
                "vector": vector,
                "prompt": prompt,
                **dose,
                "unit": UNIT,
                "resamples": len(resampled),
                "confidence": confidence,
                "shift": own["shift"],
                "shift_low": low,
                "shift_high": high,
                "shift_half_1": one,
                "shift_half_2": two,
                "halves_difference": one - two,
                "shift_other_sign": shift[other],
            }
        )
    return pd.DataFrame(rows)


def _shift(answers: pd.DataFrame) -> pd.Series[float]:
    """In nats."""
    return answers["log_odds_yes_injected"] - answers["log_odds_yes_base"]
