"""The figure of the layer sweep: the answer yes by the range of injected blocks, in every model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from introspection.paper.figure_style import Look, figure_text, name_edges

MARK = "black"
LEAST = 1.0  # nats that the full colour stands for, so that nothing does not look like something


@dataclass(frozen=True)
class Sweep:
    """A model's answers to one vector under one prompt by range, with the model's own range and the chosen one.

    table: the columns first_layer, last_layer and log_odds_yes. base: the latter with nothing injected, in nats.
    """

    name: str
    table: pd.DataFrame
    usual: tuple[int, int]
    chosen: tuple[int, int]
    base: float


def sweep_figure(models: Sequence[Sweep], look: Look) -> Figure:
    """Heat maps of the shift of the log-odds of yes, in nats, over first and last layer, a panel per model.

    Each panel has a scale of its own, symmetric about no shift. A circle marks the model's own range, a cross the
    chosen one.
    """
    figure, panels = look.panels(len(models), height=2.3, share_x=False, share_y=False)
    for model, axis in zip(models, panels, strict=True):
        blocks = int(model.table["last_layer"].max()) + 1
        grid = np.full((blocks, blocks), np.nan)
        places = model.table["first_layer"].astype(int), model.table["last_layer"].astype(int)
        grid[places] = model.table["log_odds_yes"] - model.base
        edges = np.arange(blocks + 1) - 0.5
        widest = max(float(np.nanmax(np.abs(grid))), LEAST)
        image = axis.pcolormesh(
            edges, edges, grid, cmap="vlag", vmin=-widest, vmax=widest, linewidth=0, rasterized=False
        )
        axis.plot(model.usual[1], model.usual[0], marker="o", color=MARK, markerfacecolor="none", markersize=6)
        axis.plot(model.chosen[1], model.chosen[0], marker="x", color=MARK, markersize=6)
        axis.set_xlim(0.5, blocks - 0.5)
        axis.set_ylim(blocks - 0.5, 0.5)
        axis.set_aspect("equal")
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.set_title(figure_text(model.name), loc="left", fontweight="bold")
        figure.colorbar(image, ax=axis, location="bottom", shrink=0.8, aspect=14, label="shift (nats)")
    name_edges(panels, "last layer", "first layer")
    return figure
