"""The audit of signs: do the suffixes agree on a concept's direction, and do the rules agree on where it points?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from introspection.injection.vectors import Double, Float, half_differences, oriented, principal_component
from introspection.settings import SignRule


def sign_audit(
    positive: Tensor, negative: Tensor, sign: SignRule, halves: tuple[Mapping[int, Float], Mapping[int, Float]]
) -> pd.DataFrame:
    """A row for each block that has a direction, all columns of `sign_audit.csv` but the vector.

    positive, negative: the sides of the contrast, (pairs, blocks + 1, hidden). sign: the rule of the study, whose
    direction is looked at. halves: by block, the directions of either half of the pairs.
    """
    rows = []
    for block in range(1, positive.shape[1] - 1):
        differences = half_differences(positive[:, block + 1].numpy(), negative[:, block + 1].numpy())
        between = cosine(*(half[block] for half in halves))
        rows.append({"block": block, **audit_block(differences, sign), "cosine_halves": between})
    return pd.DataFrame(rows)


def audit_block(differences: Double, sign: SignRule) -> dict[str, Any]:
    """How the half differences (pairs, hidden) of one block lie along their first principal component."""
    component = principal_component(differences)
    direction = oriented(component, differences, sign)
    projections = differences @ direction
    rules: tuple[SignRule, SignRule] = ("majority", "mean")
    by_majority, by_mean = (oriented(component, differences, rule) for rule in rules)
    return {
        "pairs": len(differences),
        "positive_share": float(np.mean(projections > 0)),
        "rules_agree": bool(np.array_equal(by_majority, by_mean)),
        "explained_share": min(1.0, float(np.square(projections).sum() / np.square(differences).sum())),
        "cosine_mean": cosine(direction, differences.mean(axis=0)),
    }


def cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The cosine between two vectors (hidden,), which rounding may not put past 1."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    return float(np.clip(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)), -1, 1))
