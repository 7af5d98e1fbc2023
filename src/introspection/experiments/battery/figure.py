"""The figure of the battery: what an injection does to control questions, and to the question whether there was one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from introspection import names
from introspection.paper.figure_style import Look, figure_text, name_edges, sample
from introspection.paper.summaries import members

GREY, DARK = "0.65", "0.2"
LEAST = 0.5  # nats to either side of nothing that every panel shows
MARKERS: dict[names.Kind, str] = {"concept": "o", "persona": "D", "random": "o", "finetune": "^"}


def battery_figure(fits: Sequence[tuple[str, pd.DataFrame]], look: Look) -> Figure:
    """The mean shift of the controls (across) and the signed shift of detection (up), in nats, a panel per model.

    fits: each model's name and its table `battery_fit.csv`. Answers in words are filled, in letters hollow.
    """
    vectors = list(dict.fromkeys(vector for _, fit in fits for vector in fit["vector"]))
    concepts = names.of_kind("concept", vectors)
    colors = dict(zip(concepts, sns.color_palette(look.settings.palette, len(concepts)), strict=True))
    figure, panels = look.panels(len(fits), height=2.0, share_x=False, share_y=False)
    for (name, fit), axis in zip(fits, panels, strict=True):
        axis.axhline(0, color="0.8", linewidth=0.6, zorder=0)
        axis.axvline(0, color="0.8", linewidth=0.6, zorder=0)
        for row in fit.sort_values("vector", key=_random_first, kind="stable").to_dict("records"):
            _draw(axis, row, _mark(row["vector"], colors))
        for low, high, limit in ((*axis.get_xlim(), axis.set_xlim), (*axis.get_ylim(), axis.set_ylim)):
            limit(min(low, -LEAST), max(high, LEAST))
        axis.set_title(figure_text(name), loc="left", fontweight="bold")
    name_edges(panels, "controls: shift (nats)", "detection: signed shift (nats)")
    figure.legend(
        [sample(**_mark(vectors_of[0], colors), ls="none") for vectors_of in members(vectors).values()]
        + [sample(color=DARK, marker="o", markersize=4, markerfacecolor="white", ls="none")],
        [*(figure_text(names.vector_label(place)) for place in members(vectors)), "letters"],
        loc="outside lower center",
        ncols=5,
        columnspacing=1,
        handletextpad=0.2,
    )
    return figure


def _random_first(vectors: pd.Series) -> pd.Series:
    """A key that sorts random directions before what they are compared with, so that they are drawn below it."""
    return vectors.map(lambda vector: names.kind_of(vector) != "random")


def _mark(vector: str, colors: dict[str, Any]) -> dict[str, Any]:
    kind = names.kind_of(vector)
    color = colors.get(vector, GREY if kind == "random" else DARK)
    return {"color": color, "marker": MARKERS[kind], "markersize": 4}


def _draw(axis: Axes, row: dict[Any, Any], mark: dict[str, Any]) -> None:
    x, y = row["control_shift"], row["signed_shift"]
    axis.vlines(x, row["signed_low"], row["signed_high"], color=mark["color"], linewidth=0.6, alpha=0.6)
    hollow: dict[str, Any] = {} if row["answers"] == "words" else {"markerfacecolor": "white"}
    axis.plot(x, y, linestyle="none", **mark, **hollow)
