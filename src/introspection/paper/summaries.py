"""What the report computes from result files: shifts, means over concepts and questions, layers where things happen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Answer:
    """The yes answer of one cell, or its mean over several: probabilities without and with injection, shift in nats."""

    base: float
    injected: float
    shift: float
    shift_low: float
    shift_high: float


@dataclass(frozen=True)
class LensPath:
    """How one curve of the logit lens runs: its highest point with injection, and its end with and without."""

    peak: float
    peak_layer: float
    last: float
    last_base: float


def with_shift(detection: pd.DataFrame) -> pd.DataFrame:
    """A detection table with the column `shift`: the log-odds of yes under injection less those without, in nats."""
    return detection.assign(shift=detection["log_odds_yes_injected"] - detection["log_odds_yes_base"])


def random_vectors(table: pd.DataFrame) -> list[str]:
    """The random directions of a table, in its order."""
    return [name for name in dict.fromkeys(table["vector"]) if str(name).startswith("random_")]


def answer(detection: pd.DataFrame, vectors: Sequence[str], prompt: str) -> Answer | None:
    """The mean over `vectors` under a prompt, with the least and largest shift; None where there is no such row."""
    rows = with_shift(detection[detection["vector"].isin(vectors) & (detection["prompt"] == prompt)])
    if rows.empty:
        return None
    return Answer(
        base=float(rows["p_yes_base"].mean()),
        injected=float(rows["p_yes_injected"].mean()),
        shift=float(rows["shift"].mean()),
        shift_low=float(rows["shift"].min()),
        shift_high=float(rows["shift"].max()),
    )


def lens_path(lens: pd.DataFrame, vectors: Sequence[str], scenario: str) -> LensPath | None:
    """The highest point and the end of a curve, the mean over `vectors`; None where the table has no such curve."""
    rows = lens[lens["vector"].isin(vectors) & (lens["scenario"] == scenario)]
    if rows.empty:
        return None
    curve = rows.groupby("layer")[["p_yes_base", "p_yes_injected"]].mean().sort_index()
    place = int(curve["p_yes_injected"].to_numpy().argmax())
    return LensPath(
        peak=float(curve["p_yes_injected"].iloc[place]),
        peak_layer=float(curve.index[place]),
        last=float(curve["p_yes_injected"].iloc[-1]),
        last_base=float(curve["p_yes_base"].iloc[-1]),
    )


def range_value(sweep: pd.DataFrame, vector: str, prompt: str, layers: tuple[int, int]) -> float:
    """p(yes) under injection over one range of the sweep; NaN where the sweep does not have it."""
    rows = sweep[(sweep["vector"] == vector) & (sweep["prompt"] == prompt)]
    rows = rows[(rows["first_layer"] == layers[0]) & (rows["last_layer"] == layers[1])]
    return float(rows["p_yes"].iloc[0]) if len(rows) else float("nan")


def best_range(sweep: pd.DataFrame, vector: str, prompt: str) -> tuple[tuple[int, int], float]:
    """The range with the largest p(yes) for a vector and prompt (the first one in the file among equals)."""
    rows = sweep[(sweep["vector"] == vector) & (sweep["prompt"] == prompt)]
    best = rows.iloc[int(rows["log_odds_yes"].to_numpy().argmax())]
    return (int(best["first_layer"]), int(best["last_layer"])), float(best["p_yes"])
