"""The figure of the logit lens: the probability of yes through the layers of every model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from introspection import names
from introspection.paper.figure_style import DASHED, SHADE, Look, finish_layers, name_edges, sample, shade_layers

CURVES: dict[names.Kind, dict[str, Any]] = {
    "concept": {"color": "C0"},
    "random": {"color": "0.5"},
    "persona": {"color": "C3"},
}


@dataclass(frozen=True)
class Curves:
    """A model's table of the lens under one prompt, and the inclusive range of blocks that were injected."""

    name: str
    lens: pd.DataFrame
    injected: tuple[int, int]


def lens_figure(models: Sequence[Curves], look: Look) -> Figure:
    """The summed probability of the yes variants after every layer: a panel per model, a mean per kind of vector.

    Solid with the injection, dashed without. What the injected blocks write is shaded.
    """
    figure, panels = look.panels(len(models), height=1.6, share_x=False)
    for model, axis in zip(models, panels, strict=True):
        shade_layers(axis, model.injected)
        axis.plot(model.lens.groupby("layer")["p_yes_base"].mean(), color="0.3", **DASHED)
        kinds = model.lens["vector"].map(names.kind_of)
        for kind, line in CURVES.items():
            axis.plot(model.lens[kinds == kind].groupby("layer")["p_yes_injected"].mean(), linewidth=1.2, **line)
        finish_layers(axis, model.name)
    name_edges(panels, "layer", "p(yes), all variants")
    handles = [*(sample(**line) for line in CURVES.values()), sample(color="0.3", **DASHED), Patch(facecolor=SHADE)]
    words = [
        "concepts",
        names.vector_label(names.RANDOM),
        names.vector_label(names.PERSONA),
        "not injected",
        "injected layers",
    ]
    figure.legend(handles, words, loc="outside lower center", ncols=3, columnspacing=1)
    return figure
