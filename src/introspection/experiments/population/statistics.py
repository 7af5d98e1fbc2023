"""The population summed up: medians by kind, and how well a shift tells a concept from a direction of another kind."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu, rankdata

from introspection.intervals import percentile_interval
from introspection.settings import PopulationSettings

Floats = np.ndarray


def with_difference(table: pd.DataFrame) -> pd.DataFrame:
    """A population with the column `shift`: of logit(yes) - logit(no), with the injection less without, in nats."""
    return table.assign(shift=table["logit_difference_injected"] - table["logit_difference_base"])


def summary(table: pd.DataFrame, settings: PopulationSettings) -> pd.DataFrame:
    """A row of `population_summary.csv` for each prompt, matching and kind, in the order of the table.

    Directions that have not the effect they were to have are counted and left out. Intervals resample directions, the
    concepts and the others each among themselves, and p-values permute which direction is a concept; the numbers for a
    row are drawn from the seed and its kind alone.
    """
    rows = []
    for (prompt, matching), part in with_difference(table).groupby(["prompt", "matching"], sort=False):
        concepts = part[(part["kind"] == "concept") & part["reached"]]["shift"].to_numpy(float)
        for kind, all_of_kind in part.groupby("kind", sort=False):
            kept = all_of_kind[all_of_kind["reached"]]
            rows.append(
                {
                    "prompt": prompt,
                    "matching": matching,
                    "kind": kind,
                    "directions": len(kept),
                    "unreached": len(all_of_kind) - len(kept),
                    "p_yes_base": all_of_kind["p_yes_base"].iloc[0],
                    **kept[["strength", "kl", "cosine", "p_yes_injected", "shift"]].median(),
                    **_comparison(str(kind), concepts, kept["shift"].to_numpy(float), settings),
                }
            )
    return pd.DataFrame(rows)


def _comparison(kind: str, concepts: Floats, others: Floats, settings: PopulationSettings) -> dict[str, Any]:
    empty = dict.fromkeys(("auc", "auc_low", "auc_high", "p_value"), math.nan)
    if kind == "concept" or not len(concepts) or not len(others):
        return empty
    found = {"auc": auc(concepts, others)}
    generator = np.random.default_rng([settings.seed, *kind.encode()])
    if min(len(concepts), len(others)) > 1:  # one direction has no spread
        low, high = auc_interval(concepts, others, settings.resamples, settings.confidence, generator)
        found |= {"auc_low": low, "auc_high": high}
    return empty | found | {"p_value": permutation_p_value(concepts, others, settings.permutations, generator)}


def auc(concepts: Floats, others: Floats) -> float:
    """The chance that one of `concepts` is above one of `others`, a tie counted half: Mann-Whitney's U by pairs."""
    return float(mannwhitneyu(concepts, others, method="asymptotic").statistic) / (len(concepts) * len(others))


def auc_interval(
    concepts: Floats, others: Floats, resamples: int, confidence: float, generator: np.random.Generator
) -> tuple[float, float]:
    """The percentile bootstrap interval of `auc`, directions of each side drawn with replacement."""
    above = (np.sign(concepts[:, None] - others) + 1) / 2
    drawn = [
        generator.multinomial(size, np.full(size, 1 / size), resamples) / size for size in (len(concepts), len(others))
    ]
    found = np.einsum("bi,ij,bj->b", drawn[0], above, drawn[1], optimize=True)
    low, high = percentile_interval(found, confidence)
    return min(1.0, low), min(1.0, high)  # weights may round to a little more than a whole


def permutation_p_value(concepts: Floats, others: Floats, permutations: int, generator: np.random.Generator) -> float:
    """Two-sided: how often as many directions, chosen at random, are at least as far from chance as the concepts."""
    ranks = rankdata(np.concatenate([concepts, others]))
    middle = len(concepts) * (len(ranks) + 1) / 2
    own = abs(ranks[: len(concepts)].sum() - middle)
    shuffled = generator.permuted(np.broadcast_to(ranks, (permutations, len(ranks))), axis=1)
    sums = shuffled[:, : len(concepts)].sum(axis=1)
    return (1 + int((np.abs(sums - middle) >= own - 1e-9).sum())) / (1 + permutations)
