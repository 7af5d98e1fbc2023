"""The figure of the curves: what an organism on a real model answers after so many steps of its training."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from introspection import names
from introspection.paper.figure_style import DASHED, MARKERS, Look, figure_text, sample

LABELS = {
    names.NOTHING: "nothing",
    "concept": "concepts",
    "centred": "concepts, less what they share",
    "shared": "what they share",
    "random": "random directions",
    "coherent": "random, same in all blocks",
}
TITLES = {"detection": "yes", "controls": "control questions", "where": "where?", "which": "which?"}


def curve_figure(curves: Sequence[tuple[str, pd.DataFrame]], look: Look) -> Figure:
    """A row of panels for each organism: its yes, its control questions, and the two choices, over training steps.

    curves: each organism's name and its table curve.csv. Dashed: what chance gives.
    """
    width = look.settings.width
    figure = Figure(figsize=(width, 1.9 * len(curves) + 0.6), layout="constrained")
    grid = figure.subplots(len(curves), len(TITLES), squeeze=False, sharex=True, sharey=True)
    for (organism, table), axes in zip(curves, grid, strict=True):
        for (test, title), axis in zip(TITLES.items(), axes, strict=True):
            rows = table[table["test"] == test]
            lines = rows.groupby(["asked", "injected"], sort=False)
            for place, ((asked, injected), line) in enumerate(lines):
                injections = test in ("detection", "controls")
                number = list(LABELS).index(str(injected)) if injections else len(LABELS) + place
                color = f"C{number}"
                axis.plot(
                    line["step"],
                    line["value"],
                    color=color,
                    marker=MARKERS[number % len(MARKERS)],
                    markersize=3,
                    linewidth=1,
                    label=None if injections else figure_text(str(asked)),
                )
                axis.fill_between(line["step"], line["low"], line["high"], color=color, alpha=0.15, linewidth=0)
            if test != "detection":
                for chance in rows["wanted"].unique():
                    axis.axhline(chance, color="0.6", zorder=0, **DASHED)
            axis.set_title(figure_text(title), loc="left")
        axes[0].set_ylim(-0.03, 1.03)
        axes[0].set_ylabel(figure_text(organism))
        axes[0].set_xticks(sorted(table["step"].unique()))
        for axis in axes[2:]:
            axis.legend(fontsize="x-small", loc="upper left")
    for axis in grid[-1]:
        axis.set_xlabel("steps")
    handles = [
        sample(color=f"C{place}", marker=MARKERS[place % len(MARKERS)], markersize=3, linewidth=1)
        for place in range(len(LABELS))
    ]
    figure.legend(handles, list(LABELS.values()), loc="outside lower center", ncols=3)
    return figure
