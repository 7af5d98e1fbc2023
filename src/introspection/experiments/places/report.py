"""Dose and place in the report: what an injection does in the model's own blocks and in others, by how strong it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from introspection import names
from introspection.experiments.places.tables import PLACES
from introspection.paper import wording
from introspection.paper.findings import Finding, Number
from introspection.paper.models import ReportedModel
from introspection.paper.results import Results
from introspection.settings import Settings

OWN, BEFORE, AFTER = "in its own blocks", "before them", "after them"
_KINDS = ("concept", "random")


def findings(results: Results, settings: Settings, model: ReportedModel) -> list[Finding]:
    """The shift by dose in the model's own blocks, and by place over the doses that all are given."""
    path = model.path(PLACES.name)
    if not results.expects(path):
        return []
    means = place_means(results.read(PLACES, model.key), settings.places.common)
    doses = own_doses(means).rename(index=lambda fraction: f"{fraction:g} of the norm")
    where = f"shift, nats, at {common_doses(settings)} of the norm"
    elsewhere = "mean of that before its own blocks, after them"
    return [
        _finding(path, "Does it carry to other doses?", where, doses),
        _finding(path, "Does it carry to other blocks?", elsewhere, over_doses(means).drop(index=OWN)),
    ]


def common_doses(settings: Settings) -> str:
    """The fractions of the norm that every model is given, in words."""
    return wording.listing([wording.number(fraction) for fraction in settings.places.common])


def place_means(
    table: pd.DataFrame, fractions: Sequence[float], measured: Literal["shift", "residual"] = "shift"
) -> pd.DataFrame:
    """By `blocks` (`OWN`, `BEFORE`, `AFTER`) and `fraction` of the norm: the mean in nats under each kind of vector.

    measured: the shift of the study's question, or what is left of that of all wordings once controls are taken off.

    Before and after the model's own are windows that have no block in common with it, each of which counts as much;
    where there are none, their means are missing values.
    """
    by_kind = table.assign(kind=table["vector"].map(names.kind_of))
    own = by_kind[by_kind["own"]]
    first, last = own["first_layer"].iloc[0], own["last_layer"].iloc[0]
    parts = {OWN: own, BEFORE: by_kind[by_kind["last_layer"] < first], AFTER: by_kind[by_kind["first_layer"] > last]}
    kinds = [kind for kind in _KINDS if kind in set(own["kind"])]
    found = {
        (blocks, fraction): part[np.isclose(part["fraction"], fraction, rtol=1e-6)]
        .groupby("kind")[measured]
        .mean()
        .reindex(kinds)
        for blocks, part in parts.items()
        for fraction in fractions
    }
    return pd.DataFrame(found).T.rename_axis(["blocks", "fraction"])


def own_doses(means: pd.DataFrame) -> pd.DataFrame:
    """By fraction of the norm, what `place_means` has of the model's own blocks."""
    return pd.DataFrame(means.xs(OWN, level="blocks"))


def over_doses(means: pd.DataFrame) -> pd.DataFrame:
    """By blocks, the mean over all doses of `place_means`."""
    return means.groupby(level="blocks", sort=False).mean()


def told(means: pd.DataFrame) -> str:
    """The concepts' means in words, in their order, and in parentheses those of a random direction."""
    concept, *random = (", ".join(map(wording.nats, means[kind])) for kind in means)
    return f"{concept} ({random[0]})" if random else concept


def _finding(path: str, test: str, where: str, means: pd.DataFrame) -> Finding:
    """A line: the concepts' means, and those of a random direction beside them."""
    return Finding(
        test=test,
        measured=f"{where} (random)",
        rule="",
        number=told(means),
        numbers=tuple(
            Number(f"{place}, {kind}", float(value), chance=0.0)
            for kind in means
            for place, value in zip(means.index, means[kind], strict=True)
        ),
        source=path,
    )
