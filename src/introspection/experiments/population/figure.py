"""The figure of the population: how well shifts tell concepts from directions that stand for none, in every model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from introspection import names
from introspection.experiments.population.tables import MATCHINGS
from introspection.paper.figure_style import Look, figure_text, name_edges, sample

TITLES = dict(zip(MATCHINGS, ("equal norm", "equal effect"), strict=True))
LOOKS: dict[str, dict[str, Any]] = dict(
    zip(MATCHINGS, ({"color": "C0", "marker": "o"}, {"color": "C1", "marker": "s"}), strict=True)
)
KINDS: tuple[names.Kind, ...] = (*names.DRAWN, *names.DERIVED)


def kind_label(kind: str) -> str:
    """A kind in words, concepts too."""
    return "concepts" if kind == "concept" else names.vector_label(kind)


def population_figure(models: Sequence[tuple[str, pd.DataFrame]], look: Look) -> Figure:
    """The area under the curve of concepts against each kind, with its interval: a panel per model.

    models: each model's name and its table population_summary.csv under one prompt.
    """
    kinds = [kind for kind in KINDS if any(kind in set(table["kind"]) for _, table in models)]
    figure, panels = look.panels(len(models), height=1.9)
    for (name, table), axis in zip(models, panels, strict=True):
        axis.axvline(0.5, color="0.8", linewidth=0.6, zorder=0)
        for offset, matching in zip((-0.15, 0.15), MATCHINGS, strict=True):
            rows = table[(table["matching"] == matching) & table["auc"].notna()].set_index("kind")
            for place, kind in enumerate(kinds):
                if kind in rows.index:
                    row, color = rows.loc[kind], LOOKS[matching]["color"]
                    axis.hlines(place + offset, row["auc_low"], row["auc_high"], color=color, linewidth=1)
                    axis.plot(row["auc"], place + offset, markersize=3.5, **LOOKS[matching])
        axis.set_xlim(-0.03, 1.03)
        axis.set_ylim(len(kinds) - 0.5, -0.5)
        axis.set_yticks(range(len(kinds)), [figure_text(kind_label(kind)) for kind in kinds])
        axis.set_title(figure_text(name), loc="left", fontweight="bold")
    name_edges(panels, "AUC", "")
    handles = [sample(ls="none", markersize=4, **LOOKS[matching]) for matching in MATCHINGS]
    figure.legend(handles, list(TITLES.values()), loc="outside lower center", ncols=2)
    return figure
