"""The confusion matrix of the zoo."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from introspection.paper.figure_style import Look, figure_text


def confusion_figure(confusion: pd.DataFrame, classes: Sequence[str], look: Look) -> Figure:
    """How many organisms of each planted class (down) the verdict puts into each class (across)."""
    planted = list(dict.fromkeys(confusion["expected"]))
    shown = [name for name in classes if name in {*confusion["expected"], *confusion["verdict"]}]
    counts = pd.crosstab(confusion["expected"], confusion["verdict"]).reindex(
        index=planted, columns=shown, fill_value=0
    )
    counts = counts.reindex(index=[name for name in shown if name in planted])
    figure = Figure(figsize=(look.settings.width, 0.2 * len(planted) + 1.25), layout="constrained")
    axis = figure.subplots()
    sns.heatmap(
        counts,
        annot=counts.astype(str).where(counts > 0, ""),
        fmt="",
        cmap="Greys",
        vmin=0,
        vmax=2 * int(counts.to_numpy().max()),
        cbar=False,
        linewidths=0.5,
        linecolor="0.9",
        xticklabels=[figure_text(name) for name in counts.columns],
        yticklabels=[figure_text(name) for name in counts.index],
        ax=axis,
    )
    axis.set_xlabel("verdict")
    axis.set_ylabel("planted")
    for label in axis.get_xticklabels():
        label.set(rotation=35, horizontalalignment="right", rotation_mode="anchor")
    for label in axis.get_yticklabels():
        label.set_rotation(0)
    return figure
