"""How often the injected part is chosen: against chance, and against a choice that needs no introspection."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import permutation_test

from introspection import names
from introspection.intervals import bootstrap_interval
from introspection.settings import WhereSettings
from introspection.stimuli.where import AIMS

READOUTS: Mapping[str, str] = {"raw": "chosen", "debiased": "chosen_debiased"}
"""The columns of where.csv that say which part is chosen: as it is, and with the unsteered bias subtracted."""

Numbers = NDArray[Any]
_UNIT = ["vector", "text"]


def where_summary(table: pd.DataFrame, settings: WhereSettings) -> pd.DataFrame:
    """A row of where_summary.csv for each kind of vector, task and readout, in the order of the table."""
    kinds = table.assign(kind=table["vector"].map(names.kind_of))
    return pd.DataFrame(
        [
            {"kind": kind, "task": task, "readout": readout, **_accuracies(part, column, settings)}
            for (kind, task), part in kinds.groupby(["kind", "task"], sort=False)
            for readout, column in READOUTS.items()
        ]
    )


def _accuracies(part: pd.DataFrame, column: str, settings: WhereSettings) -> dict[str, Any]:
    """The accuracy of both questions, in the same units, and the difference."""
    (places,) = part["places"].unique()
    row: dict[str, Any] = {"chance": 1 / places}
    units: dict[str, Numbers] = {}
    for aim in AIMS:
        asked = part[part["aim"] == aim]
        right = (asked[column] == asked["place"]).astype(float)
        units[aim] = right.groupby([asked[name] for name in _UNIT], sort=False).mean().to_numpy()
        row |= {f"accuracy_{aim}": units[aim].mean(), f"answer_mass_{aim}": asked["answer_mass_injected"].mean()}
        row |= _interval(f"accuracy_{aim}", units[aim], settings)
        row[f"accuracy_{aim}_p"] = place_p_value(_choices(asked, column), settings.permutations, settings.seed)
        row |= {"units": len(units[aim]), "trials": len(asked)}
    difference = units["injected"] - units["abstract"]
    row |= {"difference": difference.mean(), **_interval("difference", difference, settings)}
    row["difference_p"] = paired_p_value(units["injected"], units["abstract"], settings.permutations, settings.seed)
    return row


def _choices(asked: pd.DataFrame, column: str) -> Numbers:
    """The part chosen, from 1, by vector, text and order (rows) and injected part (columns)."""
    return asked.pivot(index=[*_UNIT, "order"], columns="place", values=column).to_numpy(int)


def _interval(name: str, units: Numbers, settings: WhereSettings) -> dict[str, float]:
    """The percentile bootstrap interval of a mean over units; of one unit, which has no spread, none."""
    if len(units) < 2:
        return dict.fromkeys((f"{name}_low", f"{name}_high"), math.nan)
    low, high = bootstrap_interval((units,), np.mean, settings)
    return {f"{name}_low": float(low), f"{name}_high": float(high)}


def place_p_value(choices: Numbers, permutations: int, seed: int) -> float:
    """How often choices, (blocks, places) from 1, are right as far from chance once each block's places are permuted.

    Two-sided. Where a choice does not depend on the place, every permutation is as likely as the places themselves.
    """
    places = np.arange(1, choices.shape[1] + 1)
    right = int((choices == places).sum())
    shuffled = np.random.default_rng(seed).permuted(np.broadcast_to(places, (permutations, *choices.shape)), axis=-1)
    drawn = (shuffled == choices).sum(axis=(1, 2))
    chance = len(choices)  # one right choice in each block
    return (1 + int((np.abs(drawn - chance) >= abs(right - chance)).sum())) / (1 + permutations)


def paired_p_value(first: Numbers, second: Numbers, permutations: int, seed: int) -> float:
    """Two-sided, of the mean difference between two accuracies of the same units, whose sign is as likely either way.

    Exact where there are few units; not a number where there is one.
    """
    if len(first) < 2:
        return math.nan
    found = permutation_test(
        (first, second),
        lambda one, other, axis: np.mean(one - other, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=permutations,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)
