"""The figure of the layer sweep: the answer yes by the range of injected blocks."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from introspection import names
from introspection.paper.figure_style import Look, figure_text, name_edges


def sweep_figure(sweep: pd.DataFrame, usual: tuple[int, int], chosen: tuple[int, int], look: Look) -> Figure:
    """Heat maps of p(yes) under injection over first and last layer, a panel per vector and prompt of the sweep.

    A circle marks the model's own range, a cross the chosen one.
    """
    cells = list(dict.fromkeys(zip(sweep["vector"], sweep["prompt"], strict=True)))
    figure, panels = look.panels(len(cells), height=1.9)
    blocks = int(sweep["last_layer"].max()) + 1
    image = None
    for (vector, prompt), axis in zip(cells, panels, strict=True):
        part = sweep[(sweep["vector"] == vector) & (sweep["prompt"] == prompt)]
        grid = np.full((blocks, blocks), np.nan)
        grid[part["first_layer"].astype(int), part["last_layer"].astype(int)] = part["p_yes"]
        edges = np.arange(blocks + 1) - 0.5
        image = axis.pcolormesh(edges, edges, grid, cmap="rocket", vmin=0, vmax=1, linewidth=0, rasterized=False)
        axis.plot(usual[1], usual[0], marker="o", color="deepskyblue", markerfacecolor="none", markersize=6)
        axis.plot(chosen[1], chosen[0], marker="x", color="deepskyblue", markersize=6)
        axis.set_xlim(0.5, blocks - 0.5)
        axis.set_ylim(blocks - 0.5, 0.5)
        axis.set_aspect("equal")
        axis.set_title(figure_text(f"{names.vector_label(vector)}, {look.prompts.label(prompt)}"), loc="left")
    name_edges(panels, "last layer", "first layer")
    if image is not None:
        figure.colorbar(image, ax=list(panels), label="p(yes), injected", shrink=0.8)
    return figure
