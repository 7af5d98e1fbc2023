"""The control questions summed up: mean and spread of the shift over questions, as the study reports it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class ControlStatistics:
    """table: a row per vector and group. excluded: the questions left out of it, in the order of the file."""

    table: pd.DataFrame
    excluded: tuple[str, ...]


def control_statistics(controls: pd.DataFrame, expected: Mapping[str, str], exclude_above: float) -> ControlStatistics:
    """Mean and standard deviation over questions of the shift in p(yes) and p(no), per vector and group.

    expected: the right answer to each question, yes or no. Questions to be answered no that the unsteered model answers
    yes with p above `exclude_above` are left out: they confuse the model without any injection. The bar means nothing
    for questions whose answer is yes.
    Standard deviations are those of a sample (n - 1): the questions stand for all that could have been asked. One
    question has none (NaN). Columns: vector, group, questions, and for p_yes and p_no, as they are and as rounded in
    bfloat16 (`_bf16`): the means `_base`, `_injected` and `_shift`, and `_shift_std`.
    """
    confused = (controls["question"].map(expected) == "no") & (controls["p_yes_base"] > exclude_above)
    excluded = tuple(dict.fromkeys(controls.loc[confused, "question"]))
    kept = controls[~controls["question"].isin(excluded)]
    groups = kept.groupby(["vector", "group"], sort=False)
    columns: dict[str, pd.Series] = {"questions": groups["question"].nunique()}
    for rounding in ("", "_bf16"):
        for answer in ("p_yes", "p_no"):
            base, injected = (f"{answer}_{arm}{rounding}" for arm in ("base", "injected"))
            shift = (kept[injected] - kept[base]).groupby([kept["vector"], kept["group"]], sort=False)
            columns |= {
                base: groups[base].mean(),
                injected: groups[injected].mean(),
                f"{answer}_shift{rounding}": shift.mean(),
                f"{answer}_shift_std{rounding}": shift.std(ddof=1),
            }
    return ControlStatistics(pd.DataFrame(columns).reset_index(), excluded)
