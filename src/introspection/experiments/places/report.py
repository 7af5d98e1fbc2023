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
    doses, places = own_doses(means), over_doses(means).drop(index=OWN)
    fractions = wording.listing([wording.number(float(fraction)) for fraction in doses.index])
    where = "mean of that before its own blocks, after them"
    return [
        _finding(
            path, "Does it carry to other doses?", f"shift, nats, at {fractions} of the norm", doses, "of the norm, "
        ),
        _finding(path, "Does it carry to other blocks?", where, places, ""),
    ]


def place_means(
    table: pd.DataFrame, fractions: Sequence[float], measured: Literal["shift", "residual"] = "shift"
) -> pd.DataFrame:
    """By `blocks` (`OWN`, `BEFORE`, `AFTER`) and `fraction` of the norm: the mean in nats under each kind of vector.

    measured: the shift of the study's question, or what is left of that of all wordings once controls are taken off.

    Before and after the model's own are windows that have no block in common with it, each of which counts as much;
    where there are none, their means are missing values.
    """
    own = table[table["own"]]
    first, last = own["first_layer"].iloc[0], own["last_layer"].iloc[0]
    parts = {OWN: own, BEFORE: table[table["last_layer"] < first], AFTER: table[table["first_layer"] > last]}
    kinds = [kind for kind in _KINDS if kind in set(own["vector"].map(names.kind_of))]
    found = {}
    for blocks, part in parts.items():
        for fraction in fractions:
            rows = part[np.isclose(part["fraction"], fraction, rtol=1e-6)]
            found[blocks, fraction] = rows.groupby(rows["vector"].map(names.kind_of))[measured].mean().reindex(kinds)
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


def _finding(path: str, test: str, where: str, means: pd.DataFrame, unit: str) -> Finding:
    """A line: the concepts' means, and those of a random direction beside them."""
    return Finding(
        test=test,
        measured=f"{where} (random)",
        rule="",
        number=told(means),
        numbers=tuple(
            Number(f"{place} {unit}{kind}" if unit else f"{place}, {kind}", float(value), chance=0.0)
            for kind in means
            for place, value in zip(means.index, means[kind], strict=True)
        ),
        source=path,
    )
