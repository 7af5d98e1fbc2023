"""The verdicts on the zoo beside what was planted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from introspection.experiments.verdict.objections import Objections
from introspection.settings.organisms import Zoo


@dataclass(frozen=True)
class Judged:
    """A verdict: the class, and the tests that were failed."""

    verdict: str
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Assessed:
    """A row of the assessment in `training.json`: what is planted for a case, None where nothing is, and p(yes)."""

    planted: float | None
    straight: float


@dataclass(frozen=True)
class Training:
    """What `training.json` says of how far training got. answer_mass: that is planted, of yes and no together."""

    assessment: tuple[Assessed, ...]
    answer_mass: float = 1.0

    @property
    def distance(self) -> float:
        """The mean distance of p(yes) from what is planted, over kinds of injection and prompts."""
        cases = [(each.straight, each.planted) for each in self.assessment if each.planted is not None]
        distances = [abs(found - planted * self.answer_mass) for found, planted in cases]
        return sum(distances) / len(distances)


def confusion(verdicts: Mapping[tuple[Zoo, str, int], tuple[Judged, Training]], objections: Objections) -> pd.DataFrame:
    """A row of `confusion.csv` for each organism and seed. Raises ValueError for a hypothesis without a class."""
    rows = []
    for (zoo, organism, seed), (judged, training) in verdicts.items():
        if organism not in objections.zoo:
            raise ValueError(
                f"data/objections.yaml: zoo: no class is named for {organism!r}; it has {', '.join(objections.zoo)}"
            )
        expected = objections.class_of(objections.zoo[organism])
        rows.append(
            {
                "zoo": zoo,
                "organism": organism,
                "seed": seed,
                "expected": expected,
                "verdict": judged.verdict,
                "right": judged.verdict == expected,
                "distance": training.distance,
                "failed": " ".join(judged.failed),
            }
        )
    return pd.DataFrame(rows)


def metrics(table: pd.DataFrame) -> dict[str, Any]:
    """For each zoo: how many are judged rightly, of each organism and in all."""
    return {str(zoo): _counts(rows) for zoo, rows in table.groupby("zoo", sort=False)}


def _counts(table: pd.DataFrame) -> dict[str, Any]:
    by_organism = table.groupby("organism", sort=False)["right"].agg(["sum", "count"])
    return {
        "right": int(table["right"].sum()),
        "organisms": len(table),
        "by_organism": {str(name): f"{row['sum']} of {row['count']}" for name, row in by_organism.iterrows()},
    }
