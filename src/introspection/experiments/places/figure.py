"""The figure of doses and places: heat maps over windows and fractions, and curves in the model's own layers."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from introspection import names
from introspection.paper.figure_style import Look, sample

MEASURES = {
    "shift": "study's question: shift (nats)",
    "residual": "battery: residual (nats)",
    "accuracy": "control questions: accuracy",
    "answer_mass": "answer mass",
}
TICKS = (0.02, 0.1, 0.5)
"""Fractions that the curves' axes name."""


def places_figure(places: pd.DataFrame, look: Look) -> Figure:
    """Means over the concepts by window (down) and fraction (across), and below them curves in the own layers.

    Concepts are drawn solid, the random direction dashed.
    """
    concept = places["vector"].map(names.kind_of) == "concept"
    figure = Figure(figsize=(look.settings.width, 4.6), layout="constrained")
    axes = figure.subplots(2, len(MEASURES))
    windows = places[concept & ~places["own"]]
    ends = zip(windows["first_layer"], windows["last_layer"], strict=True)
    label = [str(first) if first == last else f"{first}–{last}" for first, last in ends]
    for place, (measure, title) in enumerate(MEASURES.items()):
        grid = windows.assign(window=label).pivot_table(index="window", columns="fraction", values=measure, sort=False)
        signed = measure in ("shift", "residual")
        sns.heatmap(
            grid,
            ax=axes[0, place],
            cmap="vlag" if signed else "rocket",
            center=0 if signed else None,
            vmin=None if signed else 0,
            vmax=None if signed else 1,
            cbar_kws={"orientation": "horizontal", "shrink": 0.9, "ticks": MaxNLocator(3)},
            xticklabels=[f"{fraction:g}" for fraction in grid.columns],
            yticklabels=place == 0,
        )
        axes[0, place].set(xlabel="", ylabel="blocks" if place == 0 else "")
        axes[0, place].set_title(title, fontsize="x-small")
        axes[0, place].tick_params(labelsize="xx-small", rotation=0)
        axes[0, place].tick_params(axis="x", rotation=90)
        for kind, style in ((True, "-"), (False, "--")):
            curve = places[(concept == kind) & places["own"]].groupby("fraction")[measure].mean()
            axes[1, place].plot(curve.index, curve, style, color="0.2" if kind else "0.6", marker=".", markersize=3)
        axes[1, place].set_xscale("log")
        axes[1, place].set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axes[1, place].set_xticks([], minor=True)
        axes[1, place].tick_params(labelsize="xx-small")
        if not signed:
            axes[1, place].set_ylim(0, 1.03)
        axes[1, place].set_xlabel("fraction of the norm" if place == 0 else "", fontsize="x-small")
    axes[1, 0].set_ylabel("own layers", fontsize="x-small")
    figure.legend(
        [sample(color="0.2", ls="-"), sample(color="0.6", ls="--")],
        ["concepts", "a random direction"],
        loc="outside lower center",
        ncols=2,
    )
    return figure
