"""The figure of the dose: what an injection does and what it leaves of every model, by how much is injected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from introspection import names
from introspection.experiments.dose.rule import kind_means
from introspection.paper.figure_style import DASHED, Look, figure_text, sample

CONCEPT, RANDOM, RESIDUAL = "C0", "0.5", "C1"
LEFT: dict[str, dict[str, Any]] = {
    "control_accuracy": {"color": "C2"},
    "answer_mass": {"color": "C4"},
    "distinct": {"color": "C5"},
}
"""What is left of a model, as shares from 0 to 1."""
WORDS = {"control_accuracy": "controls right", "answer_mass": "p(yes) + p(no)", "distinct": "distinct token pairs"}
OWN: dict[str, Any] = {"color": "0.3", "linewidth": 0.8, "linestyle": ":"}


@dataclass(frozen=True)
class Doses:
    """A model's doses: `dose` is its table dose.csv, `places` what places.csv has of its own blocks, `own` its strength
    as a fraction of the norm."""

    name: str
    dose: pd.DataFrame
    places: pd.DataFrame
    own: float


def dose_figure(models: Sequence[Doses], look: Look) -> Figure:
    """A column per model, fractions of the norm on a square-root scale: shifts above, what is left below."""
    figure = Figure(figsize=(look.settings.width, 3.6), layout="constrained")
    axes = figure.subplots(2, len(models), squeeze=False, sharex="col", sharey="row")
    for model, upper, lower in zip(models, *axes, strict=True):
        _shifts(upper, model.places)
        means = kind_means(model.dose, "concept")
        for name, line in LEFT.items():
            lower.plot(means[name], linewidth=1.1, marker="o", markersize=2, **line)
        for axis in (upper, lower):
            axis.axvline(model.own, **OWN)
        _scale(lower, max(model.own, float(model.dose["fraction"].max())))
        upper.set_title(figure_text(model.name), loc="left", fontweight="bold")
        lower.set_xlabel("fraction of the norm")
        lower.set_ylim(0, 1.05)
    axes[0][0].set_ylabel("shift (nats)")
    axes[1][0].set_ylabel("share")
    handles = [
        sample(color=CONCEPT, linewidth=1.1, marker="o", markersize=2),
        sample(color=RANDOM, **DASHED),
        sample(color=RESIDUAL, linewidth=1.1, marker="s", markersize=2),
        *(sample(linewidth=1.1, marker="o", markersize=2, **line) for line in LEFT.values()),
        sample(**OWN),
    ]
    words = ["concepts", "a random direction", "concepts, residual", *(WORDS[name] for name in LEFT), "strength used"]
    figure.legend(handles, words, loc="outside lower center", ncols=4, columnspacing=0.8, handlelength=1.5)
    return figure


def _shifts(axis: Axes, places: pd.DataFrame) -> None:
    """The study's question under concepts and random directions, and the concepts' residual, in nats."""
    axis.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    kinds = places["vector"].map(names.kind_of)
    concepts, random = (places[kinds == kind].groupby("fraction") for kind in ("concept", "random"))
    axis.plot(random["shift"].mean(), color=RANDOM, **DASHED)
    axis.plot(concepts["shift"].mean(), color=CONCEPT, linewidth=1.1, marker="o", markersize=2)
    axis.plot(concepts["residual"].mean(), color=RESIDUAL, linewidth=1.1, marker="s", markersize=2)


def _scale(axis: Axes, largest: float) -> None:
    axis.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    axis.set_xlim(0, 1.05 * largest)
    axis.set_xticks([tick for tick in (0, 0.1, 0.3, 0.6, 1.0) if tick <= 1.05 * largest])
