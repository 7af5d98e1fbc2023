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
class ControlSummary:
    """The control questions of one group under one vector: means of p(yes) and of its shift, and the shift's spread.

    std: the standard deviation over questions (of a sample: n - 1), NaN for a single question.
    """

    questions: int
    base: float
    injected: float
    shift: float
    std: float
    shift_nats: float


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


def excluded_questions(controls: pd.DataFrame, above: float) -> list[str]:
    """The questions to be answered no that the unsteered model answers yes with more than this probability."""
    rows = controls[(controls["group"] == "expected_no") & (controls["p_yes_base"] > above)]
    return list(dict.fromkeys(rows["question"]))


def control_summary(
    controls: pd.DataFrame, vectors: Sequence[str], group: str, excluded: Sequence[str]
) -> ControlSummary | None:
    """Means over the questions of a group under `vectors`, the excluded ones left out; None where nothing is left.

    For several vectors, a question's figures are averaged over them first, so that the spread is that over questions.
    """
    rows = controls[controls["vector"].isin(vectors) & (controls["group"] == group)]
    rows = rows[~rows["question"].isin(excluded)]
    if rows.empty:
        return None
    rows = rows.assign(
        points=rows["p_yes_injected"] - rows["p_yes_base"],
        nats=rows["log_odds_yes_injected"] - rows["log_odds_yes_base"],
    )
    columns = ["p_yes_base", "p_yes_injected", "points", "nats"]
    questions = rows.groupby("question", sort=False)[columns].mean()
    means = questions.mean()
    return ControlSummary(
        questions=len(questions),
        base=float(means["p_yes_base"]),
        injected=float(means["p_yes_injected"]),
        shift=float(means["points"]),
        std=float(questions["points"].std(ddof=1)),
        shift_nats=float(means["nats"]),
    )


def lens_path(lens: pd.DataFrame, vector: str, scenario: str) -> LensPath | None:
    """The highest point and the end of a curve; None where the table has no such curve."""
    rows = lens[(lens["vector"] == vector) & (lens["scenario"] == scenario)].sort_values("layer")
    if rows.empty:
        return None
    highest = rows.iloc[int(rows["p_yes_injected"].to_numpy().argmax())]
    last = rows.iloc[-1]
    return LensPath(
        peak=float(highest["p_yes_injected"]),
        peak_layer=float(highest["layer"]),
        last=float(last["p_yes_injected"]),
        last_base=float(last["p_yes_base"]),
    )


def own_token(content: pd.DataFrame, vector: str, prompt: str) -> pd.DataFrame:
    """The rows of the injected concept's own token, in the order of layers."""
    rows = content[(content["vector"] == vector) & (content["prompt"] == prompt)]
    return rows[[str(token).strip().lower() == vector.lower() for token in rows["token"]]].sort_values("layer")


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
