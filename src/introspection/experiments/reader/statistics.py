"""What the model and a reader get right of the same examples, and whether one of them knows what the other does not."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar

from introspection.experiments.reader.tables import KEYS
from introspection.intervals import percentile_interval
from introspection.settings import ReaderSettings

Floats = NDArray[np.float64]


def reader_summary(reader: pd.DataFrame, rule: ReaderSettings) -> pd.DataFrame:
    """The rows of `reader_summary.csv`, in the order of the table."""
    rows = []
    for values, part in reader.groupby(list(KEYS), sort=False):
        model, own = part["said"] == part["truth"], part["read"] == part["truth"]
        only = int((model & ~own).sum()), int((own & ~model).sum())
        rows.append(
            {
                **dict(zip(KEYS, map(str, values), strict=True)),
                "count": len(part),
                "chance": 1 / part["truth"].nunique(),
                **_scored("model", part, "said", rule),
                **_scored("reader", part, "read", rule),
                "both": int((model & own).sum()),
                "model_only": only[0],
                "reader_only": only[1],
                "neither": int((~model & ~own).sum()),
                "mcnemar_p": min(1.0, float(mcnemar([[0, only[0]], [only[1], 0]], exact=True).pvalue)),
            }
        )
    return pd.DataFrame(rows)


def _scored(who: str, part: pd.DataFrame, column: str, rule: ReaderSettings) -> dict[str, Any]:
    truth, answers, scores = part["truth"], part[column], part[f"{column}_score"]
    low, high = accuracy_interval(part, column, rule)
    auc = math.nan
    if scores.notna().all():
        auc = float(roc_auc_score(truth == max(truth), scores.astype(float)))
    return {
        f"{who}_accuracy": float(balanced_accuracy_score(truth, answers)),
        f"{who}_low": low,
        f"{who}_high": high,
        f"{who}_p": permutation_p(part, column, rule),
        f"{who}_auc": auc,
    }


def accuracy_interval(part: pd.DataFrame, column: str, rule: ReaderSettings) -> tuple[float, float]:
    """The percentile bootstrap interval of the balanced accuracy, passages drawn with replacement.

    The readers are not trained anew, so it says nothing of other training examples.
    """
    table = part.assign(right=part[column] == part["truth"])
    right = table.pivot_table(index="passage", columns="truth", values="right", aggfunc="sum").to_numpy(float)
    total = table.pivot_table(index="passage", columns="truth", values="right", aggfunc="count").to_numpy(float)
    generator = np.random.default_rng(rule.seed)
    drawn = generator.multinomial(len(right), np.full(len(right), 1 / len(right)), rule.resamples)
    found = (drawn @ right / (drawn @ total)).mean(axis=1)
    low, high = percentile_interval(found, rule.confidence)
    return min(1.0, low), min(1.0, high)


def permutation_p(part: pd.DataFrame, column: str, rule: ReaderSettings) -> float:
    """One-sided: how often what is right, permuted within passages, agrees as well with the answers as they are."""
    table = part.sort_values("passage", kind="stable")
    weight = 1 / table["truth"].map(table["truth"].value_counts()) / table["truth"].nunique()
    agreed = (table[column].to_numpy()[:, None] == table["truth"].to_numpy()) * weight.to_numpy()
    passages = table["passage"].to_numpy()
    generator = np.random.default_rng(rule.seed)
    starts = np.flatnonzero(np.r_[True, passages[1:] != passages[:-1], True])
    means = np.zeros(rule.permutations)
    for start, stop in pairwise(starts):
        places = np.broadcast_to(np.arange(start, stop), (rule.permutations, int(stop - start)))
        means += agreed[np.arange(start, stop), generator.permuted(places, axis=1)].sum(axis=1)
    return (1 + int((means >= float(agreed.diagonal().sum()) - 1e-9).sum())) / (1 + rule.permutations)
