"""The choice of a layer range from a sweep, by a rule that is written down before."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import pandas as pd

from introspection.experiments.sweep.search import Range, coarse_to_fine
from introspection.injection.dose import ChosenRange, Guide

SweepMode = Literal["exhaustive", "coarse_to_fine"]


def choose_range(
    sweep: pd.DataFrame, vector: str, prompt: str, earliest_start: float, mode: SweepMode = "exhaustive"
) -> ChosenRange:
    """The range with the largest yes probability for a vector and prompt among those that start late enough.

    sweep: the table of `sweep_layers`, and the mode in which it was measured, with which the choice is marked.
    earliest_start: a fraction of the model's depth. The last block by itself is no candidate: what is added after it
    changes no key and no value, so turn 2 cannot read it. Compared by log-odds, which still differ where probabilities
    round to 1; among equals the shortest, then the earliest. Raises ValueError where no range is left, or where another
    rule has led the search.
    """
    blocks = int(sweep["last_layer"].max()) + 1
    rows = sweep[(sweep["vector"] == vector) & (sweep["prompt"] == prompt)]
    rows = rows[(rows["first_layer"] >= earliest_start * blocks) & (rows["first_layer"] < blocks - 1)]
    if rows.empty:
        raise ValueError(
            f"no range of the sweep for {vector!r} under {prompt!r} starts at or after {earliest_start:g} of the "
            f"{blocks} blocks; lower sweep.earliest_start in params.yaml"
        )
    length = rows["last_layer"] - rows["first_layer"]
    measured = sweep[["first_layer", "last_layer"]].drop_duplicates()
    how = ""
    if mode == "coarse_to_fine":
        _check_search(sweep, vector, prompt, earliest_start, blocks)
        how = f" (of the {len(measured)} that a search from coarse to fine has measured)"
    order = ["log_odds_yes", "length", "first_layer"]
    best = rows.assign(length=length).sort_values(order, ascending=[False, True, True]).iloc[0]
    return ChosenRange(
        first_layer=int(best["first_layer"]),
        last_layer=int(best["last_layer"]),
        p_yes=float(best["p_yes"]),
        log_odds_yes=float(best["log_odds_yes"]),
        candidates=len(rows),
        rule=(
            f"the largest probability of yes with {vector} injected under the prompt {prompt}, among the {len(rows)} "
            f"ranges that start from {earliest_start:g} of the {blocks} blocks on and not with the last one{how}"
        ),
        mode=mode,
    )


@dataclass(frozen=True)
class Replay:
    """A search from coarse to fine in the answers of an exhaustive sweep.

    measured: how many ranges it would have read. behind: by how many nats of log-odds of yes its range is below the
    best one.
    """

    measured: int
    first_layer: int
    last_layer: int
    behind: float


def replay_search(sweep: pd.DataFrame, guide: Guide) -> Replay:
    """What the search would have chosen where every range has been measured, and how far that is from the best."""
    blocks = int(sweep["last_layer"].max()) + 1
    answers = led_by(guide, lambda _: sweep, [])
    earliest = math.ceil(guide.earliest_start * blocks)
    read = coarse_to_fine(blocks, lambda ranges: {found: answers[found] for found in ranges}, earliest)
    best, chosen = (
        max(
            (found for found in among if earliest <= found[0] < blocks - 1),
            key=lambda found: (among[found], found[0] - found[1], -found[0]),
        )
        for among in (answers, read)
    )
    return Replay(len(read), *chosen, behind=answers[best] - answers[chosen])


def _check_search(sweep: pd.DataFrame, vector: str, prompt: str, earliest_start: float, blocks: int) -> None:
    """Search again in what was measured: another rule would have led elsewhere."""
    led = partial(led_by, Guide(vector, prompt, earliest_start), lambda _: sweep)
    measured = led([])

    def look_up(ranges: Sequence[Range]) -> dict[Range, float]:
        return {found: measured[found] for found in ranges}

    try:
        coarse_to_fine(blocks, look_up, math.ceil(earliest_start * blocks))
    except KeyError as missing:
        raise ValueError(
            f"the search from coarse to fine was led by another rule than {vector!r} under {prompt!r} from "
            f"{earliest_start:g} of the depth on: {list(missing.args[0])} is not measured; run the stage `sweep` again"
        ) from missing


def led_by(
    guide: Guide, measure: Callable[[Sequence[Range]], pd.DataFrame], ranges: Sequence[Range]
) -> dict[Range, float]:
    """The answers that guide a search, by range: the log-odds of yes in nats, from a table of the sweep."""
    table = measure(ranges)
    led = table[(table["vector"] == guide.vector) & (table["prompt"] == guide.prompt)]
    keys = zip(led["first_layer"].astype(int), led["last_layer"].astype(int), strict=True)
    return dict(zip(keys, led["log_odds_yes"].astype(float), strict=True))
