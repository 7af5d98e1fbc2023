"""The figure of the dose: what is left of a model, by how much is injected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from introspection.experiments.dose.rule import kind_means
from introspection.paper.figure_style import DASHED, SHADE, Look, figure_text, sample, shade_layers

PANELS = {
    "kl": "KL on neutral text, nats",
    "answer_mass": "p(yes) + p(no)",
    "control_accuracy": "controls answered right",
    "distinct": "distinct token pairs",
    "on_topic": "names the concept",
}
CONCEPT: dict[str, Any] = {"color": "C0", "linewidth": 1.2, "marker": "o", "markersize": 2.5}
RANDOM: dict[str, Any] = {"color": "0.4", **DASHED}
OWN: dict[str, Any] = {"color": "C3", "linewidth": 0.8}


def dose_figure(
    dose: pd.DataFrame, norms: pd.DataFrame, fraction: float, layers: tuple[int, int], look: Look
) -> Figure:
    """A panel for each measure over the fraction of the norm, means over concepts and over random directions.

    A line marks the model's strength, `fraction` of the norm. The last panel is the norm through the layers, with its
    standard deviation over passages; what the injected blocks write is shaded. Fractions are on a square-root scale.
    """
    figure, panels = look.panels(len(PANELS) + 1, share_x=False, share_y=False)
    means = {kind: kind_means(dose, kind) for kind in ("concept", "random")}
    for (name, title), axis in zip(PANELS.items(), panels, strict=False):
        axis.plot(means["random"][name], **RANDOM)
        axis.plot(means["concept"][name], **CONCEPT)
        axis.axvline(fraction, **OWN)
        _scale(axis, max(fraction, float(dose["fraction"].max())))
        axis.set_ylim(0, None if name == "kl" else 1.05)
        axis.set_title(figure_text(title), loc="left")
    for axis in panels[2:-1]:
        axis.set_xlabel("fraction of the norm")
    _norms(panels[-1], norms, layers)
    handles = [sample(**CONCEPT), sample(**RANDOM), sample(**OWN), Patch(facecolor=SHADE)]
    words = ["concepts", "random directions", "the model's own strength", "injected layers"]
    figure.legend(handles, words, loc="outside lower center", ncols=2, columnspacing=1)
    return figure


def _scale(axis: Axes, largest: float) -> None:
    axis.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    axis.set_xlim(0, 1.05 * largest)


def _norms(axis: Axes, norms: pd.DataFrame, layers: tuple[int, int]) -> None:
    shade_layers(axis, layers)
    layer, mean, spread = (norms[name].to_numpy(float) for name in ("layer", "mean_norm", "norm_std"))
    axis.fill_between(layer, np.maximum(mean - spread, 0), mean + spread, color="0.8", linewidth=0)
    axis.plot(layer, mean, color="0.2", linewidth=1)
    axis.set_ylim(0, None)
    axis.set_title("norm of the stream", loc="left")
    axis.set_xlabel("layer")
