"""The figure of which: the information in the choices by layer, and what was chosen for what was injected."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from introspection.experiments.which.tables import KEYS, LAST
from introspection.paper.figure_style import Look, figure_text, sample, shade_layers


def which_figure(layers: pd.DataFrame, confusion: pd.DataFrame, blocks: tuple[int, int], look: Look) -> Figure:
    """Above, by arm, the plug-in information (solid) and its mean under the null (dashed); below, the own answers.

    blocks: those after which the vector is added.
    """
    arms = list(layers.groupby(list(KEYS), sort=False))
    figure = Figure(figsize=(look.settings.width, 4.2), layout="constrained")
    axes = figure.subplots(2, len(arms), squeeze=False)
    top = 1.05 * max(float(layers[["bits", "bits_null"]].to_numpy().max()), 0.1)
    for place, (arm, rows) in enumerate(arms):
        curve, grid = axes[0, place], axes[1, place]
        shade_layers(curve, blocks)
        curve.plot(rows["layer"], rows["bits"], color="0.2", linewidth=1)
        curve.plot(rows["layer"], rows["bits_null"], color="0.5", linewidth=0.8, linestyle="--")
        curve.set_ylim(0, top)
        curve.set(xlabel="layer", ylabel="bits" if place == 0 else "")
        curve.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        title = "\n".join(figure_text(arm_label(str(part))) for part in arm)
        curve.set_title(title, loc="left", fontsize="x-small")
        part = confusion[(confusion[list(KEYS)] == list(arm)).all(axis=1) & (confusion["reading"] == LAST)]
        counts = part.pivot_table(index="injected", columns="chosen", values="count", sort=False).astype(float)
        sns.heatmap(counts, ax=grid, cmap="rocket_r", vmin=0, cbar=False, square=True, yticklabels=place == 0)
        grid.set(xlabel="chosen", ylabel="injected" if place == 0 else "")
        grid.tick_params(labelsize="xx-small")
    figure.legend(
        [sample(color="0.2", ls="-"), sample(color="0.5", ls="--")],
        ["information", "of permuted injections"],
        loc="outside lower center",
        ncols=2,
    )
    return figure


def arm_label(part: str) -> str:
    """A part of an arm in words: a prompt, the place of the list, or a question."""
    return {"turn_1": "list in turn 1", "turn_2": "list in turn 2", "injected": "which was injected?"}.get(
        part, {"liked": "which is best?"}.get(part, part.replace("_", " "))
    )
