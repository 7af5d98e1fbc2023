"""The figure of the logit lens: the probability of yes through the layers."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from introspection import names
from introspection.paper.figure_style import (
    DASHED,
    SHADE,
    Look,
    figure_text,
    finish_layers,
    name_edges,
    sample,
    shade_layers,
)


def lens_figure(
    lens: pd.DataFrame, vectors: Sequence[str], injected: tuple[int, int], labels: dict[str, str], look: Look
) -> Figure:
    """The summed probability of the yes variants after every layer: a panel per vector, a colour per scenario.

    Solid with the injection, dashed without. `injected` is the inclusive range of decoder blocks, whose layers are
    shaded. labels: the scenarios, in their order, in words.
    """
    figure, panels = look.panels(len(vectors))
    for vector, axis in zip(vectors, panels, strict=True):
        shade_layers(axis, injected)
        for scenario in labels:
            curve = lens[(lens["vector"] == vector) & (lens["scenario"] == scenario)].sort_values("layer")
            axis.plot(curve["layer"], curve["p_yes_base"], color=look.color(scenario), **DASHED)
            axis.plot(curve["layer"], curve["p_yes_injected"], color=look.color(scenario), linewidth=1.2)
        finish_layers(axis, names.vector_label(vector))
    name_edges(panels, "layer", "p(yes), all variants")
    handles = [
        *(sample(color=look.color(scenario)) for scenario in labels),
        sample(color="0.3", **DASHED),
        Patch(facecolor=SHADE),
    ]
    words = [*map(figure_text, labels.values()), "not injected", "injected layers"]
    figure.legend(handles, words, loc="outside lower center", ncols=3, columnspacing=1)
    return figure
