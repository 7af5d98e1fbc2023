"""The figure of the post's shifts on two scales."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from introspection import names
from introspection.paper.figure_style import Look, figure_text


def shifts_figure(shifts: pd.DataFrame, look: Look) -> Figure:
    """The post's yes shifts on two scales, row by row: as it prints them, and in nats with the interval left open."""
    figure = Figure(figsize=(look.settings.width, 0.22 * len(shifts) + 1), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    labels = []
    for height, row in enumerate(shifts.to_dict("records")):
        prompt, color = row["prompt"], look.color(row["prompt"])
        left.barh(height, float(row["p_yes_shift"]), color=color, height=0.6)
        right.plot(row["log_odds_shift"], height, marker=look.marker(prompt), markersize=3.5, color=color)
        right.hlines(height, row["log_odds_shift_low"], row["log_odds_shift_high"], color=color, linewidth=1)
        layers = f", from layer {row['first_layer']}" if row["first_layer"] else ""
        labels.append(figure_text(f"{names.vector_label(row['vector'])}, {look.prompts.label(prompt)}{layers}"))
    left.set_yticks(range(len(labels)), labels)
    left.invert_yaxis()
    left.set_xlabel("shift of p(yes), as printed")
    right.set_xlabel("shift of log-odds (nats)")
    right.set_xlim(left=0)
    right.grid(axis="y", color="0.9", linewidth=0.5)
    right.set_axisbelow(True)
    return figure
