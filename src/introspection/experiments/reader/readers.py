"""Readers: classifiers of states, trained on some examples and asked of others.

Both standardise every dimension that varies by the training examples and turn to their principal components, all of
them, which loses nothing that either could use and makes them cheap where there are more dimensions than examples.
Logistic regression has scikit-learn's default ridge penalty and weighs classes alike, however many examples each has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from introspection.experiments.reader.tables import CENTROID, FEW, LOGISTIC, MANY

Rows = NDArray[np.int64]
ROUNDING = 1e-4  # of a dimension's size: some hundreds of units in the last place of a float32


@dataclass(frozen=True)
class Fold:
    """The rows that are trained on, and those that are read."""

    train: Rows
    test: Rows


@dataclass(frozen=True)
class Reading:
    """What a reader says of rows, and of two classes its leaning to the second in the alphabet; None of more."""

    reader: str
    examples: str
    rows: Rows
    labels: NDArray[Any]
    scores: NDArray[np.float64] | None


def folds(halves: Sequence[int], groups: Sequence[int | None]) -> list[Fold]:
    """Train on one half's examples, read the other's; and within that, read no group that was trained on.

    halves: of each example. groups: likewise, of what must be new to the reader; None for what may be in both.
    Examples without a group are read once, by the reader of one of the groups, which they take turns in.
    """
    half, known = np.array(halves), sorted({group for group in groups if group is not None})
    if not known:
        return [Fold(np.flatnonzero(half != each), np.flatnonzero(half == each)) for each in np.unique(half)]
    free = np.array([group is None for group in groups])
    turn = np.cumsum(free) % len(known)
    group = np.array([known[turn[row]] if free[row] else groups[row] for row in range(len(groups))])
    return [
        Fold(
            np.flatnonzero((half != each) & (free | (group != new))),
            np.flatnonzero((half == each) & (group == new)),
        )
        for each in np.unique(half)
        for new in known
    ]


def read(
    features: NDArray[np.float32], labels: Sequence[str], parts: Sequence[Fold], few: int, seed: int
) -> Iterator[Reading]:
    """What either reader says of every fold, trained on `few` examples of each class and on all.

    features: (examples, dimensions).
    """
    truth = np.array(labels)
    for number, fold in enumerate(parts):
        generator = np.random.default_rng((seed, number))
        for examples in (FEW, MANY):
            train = fold.train if examples == MANY else drawn(truth, fold.train, few, generator)
            kept = varying(features[train])
            seen, new = (features[rows][:, kept].astype(np.float64) for rows in (train, fold.test))
            reduced = make_pipeline(StandardScaler(), PCA(svd_solver="full")).fit(seen)
            seen, new = reduced.transform(seen), reduced.transform(new)
            for name, classifier in classifiers().items():
                classifier.fit(seen, truth[train])
                scores = leaning(classifier, new) if len(classifier.classes_) == 2 else None
                yield Reading(name, examples, fold.test, classifier.predict(new), scores)


def varying(features: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The dimensions that vary by more than the rounding of their own size; all of them where none does.

    One that holds rounding alone would be blown up by standardising, and what a reader says would be chance.
    features: (examples, dimensions).
    """
    wide = features.astype(np.float64)
    kept = wide.std(axis=0) > ROUNDING * np.sqrt((wide**2).mean(axis=0))
    return kept if kept.any() else np.ones_like(kept)


def leaning(classifier: Any, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """How far a reader of two classes leans to the second: log-odds, or the difference of squared distances."""
    if isinstance(classifier, NearestCentroid):
        squared = ((features[:, None] - classifier.centroids_) ** 2).sum(axis=-1)
        return np.asarray(squared[:, 0] - squared[:, 1], np.float64)
    return np.asarray(classifier.decision_function(features), np.float64)


def drawn(truth: NDArray[Any], rows: Rows, count: int, generator: np.random.Generator) -> Rows:
    """So many of the rows of each class, at random, all where there are no more."""
    found = [generator.permutation(rows[truth[rows] == label])[:count] for label in np.unique(truth[rows])]
    return np.sort(np.concatenate(found))


def classifiers() -> dict[str, Any]:
    """New readers, untrained, by name."""
    return {
        CENTROID: NearestCentroid(),
        LOGISTIC: LogisticRegression(class_weight="balanced", max_iter=2000),
    }
