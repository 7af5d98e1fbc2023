"""Framing in the report: what each frame does to the answer with nothing injected, and to what an injection adds."""

from __future__ import annotations

import pandas as pd

from introspection import names
from introspection.experiments.framing.tables import FRAMING
from introspection.paper import wording
from introspection.paper.findings import Finding, Number
from introspection.paper.models import ReportedModel
from introspection.paper.results import Results
from introspection.settings import Settings


def findings(results: Results, settings: Settings, model: ReportedModel) -> list[Finding]:
    """By frame, around the first support: the residual under concepts and random directions."""
    path = model.path(FRAMING.name)
    if not results.expects(path):
        return []
    means = frame_means(results.read(FRAMING, model.key))
    support = means.index[0][0]
    rows = means.loc[support]
    return [
        Finding(
            test="Is it the framing?",
            measured=f"rest of the shift, nats: {_listed(rows.index)}",
            rule="",
            number=", ".join(map(wording.nats, rows["concept"])),
            interval=f"(random directions: {', '.join(map(wording.nats, rows['random']))})"
            if rows["random"].notna().all()
            else "",
            numbers=tuple(
                Number(f"{frame}, {kind}", float(rows.loc[frame, kind]), chance=0.0)
                for frame in rows.index
                for kind in ("concept", "random")
            ),
            source=path,
        )
    ]


def frame_means(table: pd.DataFrame) -> pd.DataFrame:
    """By support and frame: `base`, p(yes) with nothing injected, and mean residuals of concepts and of random ones."""
    is_random = table["vector"].map(names.kind_of) == "random"
    by = ["support", "frame"]
    groups = {
        "base": table.groupby(by, sort=False)["p_yes_base"].first(),
        "concept": table[~is_random].groupby(by, sort=False)["residual"].mean(),
        "random": table[is_random].groupby(by, sort=False)["residual"].mean(),
    }
    return pd.DataFrame(groups)


def _listed(frames: pd.Index) -> str:
    *before, last = map(str, frames)
    return f"{', '.join(before)} or {last}"
