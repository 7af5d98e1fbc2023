"""The verdicts on the zoo beside what was planted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from introspection.experiments.verdict.objections import Objections
from introspection.settings.organisms import Zoo

TAKEN = 0.1
"""A rule took in training where p(yes) is no further than this from what is planted, under each kind of injection."""


@dataclass(frozen=True)
class Judged:
    """A verdict: the class, and the tests that were failed."""

    verdict: str
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Assessed:
    """A row of the assessment in `training.json`. planted: p(yes), None where no rule is. straight: found."""

    injected: str
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
        return fmean(each for distances in self._distances().values() for each in distances)

    @property
    def furthest(self) -> float:
        """The mean distance over prompts under the kind of injection where it is largest."""
        return max(fmean(distances) for distances in self._distances().values())

    def _distances(self) -> dict[str, list[float]]:
        by_kind = defaultdict(list)
        for each in self.assessment:
            if each.planted is not None:
                by_kind[each.injected].append(abs(each.straight - each.planted * self.answer_mass))
        return by_kind


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
                "furthest": training.furthest,
                "failed": " ".join(judged.failed),
            }
        )
    return pd.DataFrame(rows)


def metrics(table: pd.DataFrame) -> dict[str, Any]:
    """For each zoo: how many are judged rightly, in all, of those in which the rule took, and of each organism."""
    return {str(zoo): _counts(rows) for zoo, rows in table.groupby("zoo", sort=False)}


def taken(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of organisms in which the rule took."""
    return table[table["furthest"] <= TAKEN]


def by_organism(table: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Of each organism, over seeds, how many are judged rightly, and of how many."""
    counts = table.groupby("organism", sort=False)["right"].agg(["sum", "count"])
    return {str(name): (int(row["sum"]), int(row["count"])) for name, row in counts.iterrows()}


def _counts(table: pd.DataFrame) -> dict[str, Any]:
    return {
        "right": int(table["right"].sum()),
        "organisms": len(table),
        "taken": {"right": int(taken(table)["right"].sum()), "organisms": len(taken(table))},
        "by_organism": {name: f"{right} of {count}" for name, (right, count) in by_organism(table).items()},
    }
