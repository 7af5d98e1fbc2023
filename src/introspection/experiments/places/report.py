"""Dose and place in the report: what an injection does in the model's own blocks and in others, by how strong it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from introspection import names
from introspection.experiments.places.tables import PLACES
from introspection.paper import wording
from introspection.paper.findings import Finding, Number
from introspection.paper.models import ReportedModel
from introspection.paper.results import Results
from introspection.settings import Settings

OWN, OTHERS = "in its own blocks", "in others"
_KINDS = ("concept", "random")


def findings(results: Results, settings: Settings, model: ReportedModel) -> list[Finding]:
    """The rest of the shift in the model's own blocks and in others, at the doses that every model is given."""
    path = model.path(PLACES.name)
    if not results.expects(path):
        return []
    fractions = settings.places.common
    means = place_means(results.read(PLACES, model.key), fractions)
    doses = wording.listing([wording.number(fraction) for fraction in fractions])
    return [
        Finding(
            test="Does it carry to other blocks and doses?",
            measured=f"rest of the shift, nats, at {doses} of the norm {OWN}; and {OTHERS}",
            rule="",
            number=_told(means["concept"]),
            interval=f"(a random direction: {_told(means['random'])})" if "random" in means else "",
            numbers=tuple(
                Number(f"{blocks}, {fraction:g} of the norm, {kind}", float(value), chance=0.0)
                for kind in means
                for (blocks, fraction), value in zip(means.index, means[kind], strict=True)
            ),
            source=path,
        )
    ]


def place_means(table: pd.DataFrame, fractions: Sequence[float]) -> pd.DataFrame:
    """By blocks (`OWN`, `OTHERS`) and fraction of the norm: mean residuals in nats, a column a kind of vector.

    Others are windows that have no block in common with the model's own, each of which counts as much; where there are
    none, they are missing.
    """
    own = table[table["own"]]
    first, last = own["first_layer"].iloc[0], own["last_layer"].iloc[0]
    apart = table[(table["last_layer"] < first) | (table["first_layer"] > last)]
    kinds = [kind for kind in _KINDS if kind in set(own["vector"].map(names.kind_of))]
    found = {}
    for blocks, part in {OWN: own, OTHERS: apart}.items():
        for fraction in fractions if len(part) else ():
            rows = part[np.isclose(part["fraction"], fraction, rtol=1e-6)]
            found[blocks, fraction] = rows.groupby(rows["vector"].map(names.kind_of))["residual"].mean().reindex(kinds)
    return pd.DataFrame(found).T


def _told(means: pd.Series) -> str:
    """Those in the own blocks, and after a semicolon the others."""
    return "; ".join(", ".join(map(wording.nats, part)) for _, part in means.groupby(level=0, sort=False))
