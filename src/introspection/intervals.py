"""Percentile intervals, as every experiment draws them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap


class Resampling(Protocol):
    """How often samples are drawn anew, with which seed, and what share of the results an interval holds."""

    @property
    def resamples(self) -> int:
        """How often they are drawn."""

    @property
    def seed(self) -> int:
        """Of the generator that draws."""

    @property
    def confidence(self) -> float:
        """The share."""


def percentile_interval(values: Sequence[float] | NDArray[Any], confidence: float) -> tuple[float, float]:
    """The central interval that holds a share `confidence` of the values, which are joined by straight lines."""
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bootstrap_interval(
    samples: Sequence[NDArray[Any]], statistic: Callable[..., Any], rule: Resampling
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The ends of the percentile bootstrap interval of a statistic of samples, each drawn anew with replacement.

    statistic: of as many samples, vectorized along `axis`. One seed draws the same of samples of the same lengths.
    """
    found = bootstrap(
        samples,
        statistic,
        n_resamples=rule.resamples,
        confidence_level=rule.confidence,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(rule.seed),
    ).confidence_interval
    return np.asarray(found.low), np.asarray(found.high)
