"""What several experiments' reports compute from result files: shifts, and means over what belongs together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from introspection import names


@dataclass(frozen=True)
class Answer:
    """The yes answer of one cell, or its mean over several: probabilities without and with injection, shift in nats."""

    base: float
    injected: float
    shift: float
    shift_low: float
    shift_high: float


def with_shift(detection: pd.DataFrame) -> pd.DataFrame:
    """A detection table with the column `shift`: the log-odds of yes under injection less those without, in nats."""
    return detection.assign(shift=detection["log_odds_yes_injected"] - detection["log_odds_yes_base"])


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


def place(vector: str) -> str:
    """Where a vector stands in tables and figures: random directions stand together, as all do that have no meaning of
    their own, each kind at its place."""
    kind = names.kind_of(vector)
    return kind if kind in names.GROUPED else vector


def members(vectors: Iterable[object]) -> dict[str, list[str]]:
    """The places of a table's vectors, as they come, each with the vectors that stand there."""
    by_place: dict[str, list[str]] = {}
    for vector in dict.fromkeys(map(str, vectors)):
        by_place.setdefault(place(vector), []).append(vector)
    return by_place


def means_last(places: Iterable[str]) -> list[str]:
    """Places with those that several vectors share moved to the end."""
    return sorted(places, key=lambda name: name in names.GROUPED)
