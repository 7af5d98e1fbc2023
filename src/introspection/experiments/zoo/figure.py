"""The confusion matrix of the zoo."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from introspection.paper.figure_style import Look, figure_text


def confusion_figure(confusion: pd.DataFrame, classes: Sequence[str], look: Look) -> Figure:
    """How many organisms of each planted class (down) the verdict puts into each class (across, by its number)."""
    shown = [name for name in classes if name in {*confusion["expected"], *confusion["verdict"]}]
    counts = pd.crosstab(confusion["expected"], confusion["verdict"]).reindex(index=shown, columns=shown, fill_value=0)
    figure = Figure(figsize=(look.settings.width, 0.2 * len(shown) + 0.55), layout="constrained")
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
        xticklabels=[str(number + 1) for number in range(len(shown))],
        yticklabels=[figure_text(f"{name}  {number + 1}") for number, name in enumerate(shown)],
        ax=axis,
    )
    axis.set_xlabel("verdict")
    axis.set_ylabel("planted")
    for label in (*axis.get_xticklabels(), *axis.get_yticklabels()):
        label.set_rotation(0)
    return figure
