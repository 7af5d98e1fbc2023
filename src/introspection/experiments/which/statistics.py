"""How much choices say of what was injected: mutual information with its bias, accuracy, and ranks of words.

The plug-in estimate of mutual information is too large where choices are few. Its bias is taken to be its mean under
the permutation null, in which what is injected is permuted within each order: it means nothing there, while each order
keeps its answers, and a preference for a number or for a concept stays as it is. This takes off too much where
information is large. The formula of Miller (1955), (K_xy - K_x - K_y + 1) / 2N nats with K the numbers of cells, rows
and columns that occur, stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from introspection.experiments.which.tables import HELD_OUT, KEYS, LAST, PROBABILITY, SHIFT
from introspection.intervals import bootstrap_interval
from introspection.names import NOTHING
from introspection.settings import WhichSettings

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


def information(counts: NDArray[Any]) -> Floats:
    """The plug-in mutual information of rows and columns in bits, (..., rows, columns) to (...)."""
    joint = counts / counts.sum(axis=(-2, -1), keepdims=True)
    independent = joint.sum(axis=-1, keepdims=True) * joint.sum(axis=-2, keepdims=True)
    ratio = np.divide(joint, independent, out=np.ones_like(joint), where=joint > 0)
    found: Floats = np.maximum((joint * np.log2(ratio)).sum(axis=(-2, -1)), 0)
    return found


def miller_madow(counts: NDArray[Any]) -> float:
    """The bias of `information` in bits by the formula of Miller (1955), of (rows, columns)."""
    cells = int((counts > 0).sum())
    rows, columns = (int((counts.sum(axis=axis) > 0).sum()) for axis in (1, 0))
    return float((cells - rows - columns + 1) / (2 * counts.sum() * np.log(2)))


def one_hot(choices: Places) -> NDArray[np.int64]:
    """Choices (orders, injected, layers) as counts in each order, (orders, layers, injected, chosen)."""
    size = choices.shape[1]
    return np.eye(size, dtype=np.int64)[choices].transpose(0, 2, 1, 3)


def held_out_layers(cells: NDArray[np.int64]) -> Places:
    """For each order the layer with most information in all others, the lowest of equals; `one_hot` to (orders,)."""
    others = cells.sum(axis=0, keepdims=True) - cells
    found: Places = information(others).round(9).argmax(axis=1)
    return found


def held_out_counts(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """The choices of each order at the layer chosen on the others, together: `one_hot` to (injected, chosen)."""
    found: NDArray[np.int64] = cells[np.arange(len(cells)), held_out_layers(cells)].sum(axis=0)
    return found


def null(
    cells: NDArray[np.int64], statistic: Callable[[NDArray[np.int64]], Floats], permutations: int, seed: int
) -> Floats:
    """A statistic of `one_hot` where what is injected is permuted within each order, (permutations, ...)."""
    generator = np.random.default_rng(seed)
    places = np.broadcast_to(np.arange(cells.shape[2]), (len(cells), cells.shape[2]))
    found = []
    for _ in range(permutations):
        drawn = generator.permuted(places, axis=1)
        found.append(statistic(np.take_along_axis(cells, drawn[:, None, :, None], axis=2)))
    return np.array(found)


def against_null(observed: Floats, under_null: Floats) -> pd.DataFrame:
    """The columns of information: observed (rows,) beside (permutations, rows); p-values are one-sided."""
    at_least = (under_null >= observed - 1e-9).sum(axis=0)
    mean = under_null.mean(axis=0)
    return pd.DataFrame(
        {
            "bits": observed,
            "bits_null": mean,
            "bits_corrected": observed - mean,
            "p_value": (1 + at_least) / (1 + len(under_null)),
        }
    )


def choices_of(lens: pd.DataFrame, orders: pd.DataFrame, options: list[str]) -> Places:
    """The place in `options` of the likeliest number's option, (orders, injected, layers), of one arm.

    injected: in the order of `options`.
    """
    option = orders.set_index(["order", "number"])["option"].map({name: place for place, name in enumerate(options)})
    chosen = option.loc[pd.MultiIndex.from_frame(lens[["order", "number"]])].to_numpy()
    wide = lens.assign(chosen=chosen).pivot_table(index=["order", "injected"], columns="layer", values="chosen")
    rows = pd.MultiIndex.from_product([sorted(lens["order"].unique()), options])
    found: Places = wide.loc[rows].to_numpy(np.int64).reshape(-1, len(options), wide.shape[1])
    return found


def which_tables(
    which: pd.DataFrame, lens: pd.DataFrame, orders: pd.DataFrame, rule: WhichSettings
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The rows of `which_layers.csv`, `which_summary.csv` and `which_confusion.csv`."""
    options = [*rule.concepts, NOTHING]
    layers, summaries, confusions = [], [], []
    for values, part in lens.groupby(list(KEYS), sort=False):
        keys = dict(zip(KEYS, map(str, values), strict=True))
        choices = choices_of(part, orders, options)
        cells = one_hot(choices)
        by_layer = against_null(
            information(cells.sum(axis=0)),
            null(cells, lambda drawn: information(drawn.sum(axis=0)), rule.permutations, rule.seed),
        )
        right = np.array([each.diagonal(axis1=-2, axis2=-1).sum(axis=-1) for each in cells]) / len(options)
        table = by_layer.assign(layer=range(len(by_layer)), accuracy=right.mean(axis=0))
        layers.append(table.assign(**keys))
        chosen = held_out_layers(cells)
        by_null = null(cells, lambda drawn: information(held_out_counts(drawn)), rule.permutations, rule.seed)
        counts = {LAST: cells[:, -1].sum(axis=0), HELD_OUT: held_out_counts(cells)}
        at = {LAST: np.full(len(cells), cells.shape[1] - 1), HELD_OUT: chosen}
        mass = float(which.loc[(which[list(KEYS)] == list(values)).all(axis=1), "mass"].mean())
        tests = {
            LAST: by_layer.tail(1).reset_index(drop=True)[["bits", "bits_null", "bits_corrected", "p_value"]],
            HELD_OUT: against_null(information(counts[HELD_OUT])[None], by_null[:, None]),
        }
        for reading, count in counts.items():
            of_orders = right[np.arange(len(cells)), at[reading]]
            low, high = interval(of_orders, rule)
            summaries.append(
                {
                    **keys,
                    "reading": reading,
                    "choices": int(count.sum()),
                    "layer_low": int(at[reading].min()),
                    "layer_high": int(at[reading].max()),
                    "mass": mass,
                    "accuracy": float(of_orders.mean()),
                    "accuracy_low": low,
                    "accuracy_high": high,
                    **{str(column): value for column, value in tests[reading].iloc[0].items()},
                    "bits_miller_madow": float(tests[reading]["bits"].iloc[0]) - miller_madow(count),
                }
            )
            confusions += [
                {**keys, "reading": reading, "injected": injected, "chosen": option, "count": int(count[row, column])}
                for row, injected in enumerate(options)
                for column, option in enumerate(options)
            ]
    return pd.concat(layers or [pd.DataFrame()], ignore_index=True), pd.DataFrame(summaries), pd.DataFrame(confusions)


def interval(values: Floats, rule: WhichSettings) -> tuple[float, float]:
    """The percentile bootstrap interval of a mean, units drawn with replacement; the mean itself where all agree."""
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    low, high = bootstrap_interval((values,), np.mean, rule)
    return float(low), float(high)


def naming_summary(naming: pd.DataFrame, rule: WhichSettings) -> pd.DataFrame:
    """The rows of `naming_summary.csv`. Ranks of equals are their mean.

    A word that is likely under every injection ranks high for whatever is injected; the permutation gives it to another
    concept, and so keeps that.
    """
    rows = []
    for prompt, part in naming.groupby("prompt", sort=False):
        scores = {
            PROBABILITY: part["log_p_injected"],
            SHIFT: part["log_p_injected"] - part["log_p_base"],
        }
        for score, values in scores.items():
            words = list(dict.fromkeys(part["word"]))
            table = part.assign(score=values).pivot_table(index="vector", columns="word", values="score")
            if len(words) < 2:
                continue
            ranks = rankdata(-table.loc[words, words].to_numpy(float), axis=1)
            own = ranks.diagonal()
            generator = np.random.default_rng(rule.seed)
            drawn = generator.permuted(np.broadcast_to(np.arange(len(words)), (rule.permutations, len(words))), axis=1)
            means = ranks[np.arange(len(words)), drawn].mean(axis=1)
            low, high = interval(own, rule)
            rows.append(
                {
                    "prompt": prompt,
                    "score": score,
                    "words": len(words),
                    "mean_rank": float(own.mean()),
                    "rank_low": low,
                    "rank_high": high,
                    "chance": (len(words) + 1) / 2,
                    "first": float((own == 1).mean()),
                    "p_value": (1 + int((means <= own.mean() + 1e-9).sum())) / (1 + rule.permutations),
                }
            )
    return pd.DataFrame(rows)
