"""Other suffixes in place of all: two random halves, and bootstrap resamples, each as the places of its suffixes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from introspection.settings import SignRule

Places = Mapping[str, list[int]]
"""By kind, which suffixes a vector is made of; one may be there more than once."""

HALVES = ("half_1", "half_2")
_BOOTSTRAP = "bootstrap_"
_OTHER: Mapping[SignRule, SignRule] = {"majority": "mean", "mean": "majority"}


def halves(suffixes: int, seed: int) -> Places:
    """Two random halves; of an odd number the second has one more."""
    order = np.random.default_rng(seed).permutation(suffixes)
    parts = order[: suffixes // 2], order[suffixes // 2 :]
    return {kind: sorted(part.tolist()) for kind, part in zip(HALVES, parts, strict=True)}


def bootstrap(suffixes: int, resamples: int, seed: int) -> Places:
    """Resamples with replacement, each as large as the whole."""
    drawn = np.random.default_rng((seed, 1)).integers(suffixes, size=(resamples, suffixes))
    return {kind: sorted(places.tolist()) for kind, places in zip(bootstrap_kinds(resamples), drawn, strict=True)}


def bootstrap_kinds(resamples: int) -> list[str]:
    """The names of so many resamples."""
    return [f"{_BOOTSTRAP}{number}" for number in range(1, resamples + 1)]


def is_bootstrap(kind: str) -> bool:
    """Whether a kind is a resample."""
    return kind.startswith(_BOOTSTRAP)


def other_rule(sign: SignRule) -> SignRule:
    """The rule for a direction's sign that is not this one."""
    return _OTHER[sign]


def other_sign(sign: SignRule) -> str:
    """The kind of vectors whose sign follows the rule that is not this one."""
    return f"{other_rule(sign)}_sign"
