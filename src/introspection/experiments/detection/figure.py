"""The figure of detection: what every injection does to the answer yes, in every model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from introspection import names
from introspection.paper.figure_style import PAGE_HEIGHT, Look, figure_text, sample
from introspection.paper.summaries import members, place

_LAST = (names.PERSONA, names.FINETUNE, *names.GROUPED)


def detection_figure(detections: Sequence[tuple[str, pd.DataFrame]], look: Look) -> Figure:
    """The yes shift in nats (left) and the yes probability with and without injection (right), a row per model.

    detections: each model's name and table, with the columns vector, prompt, p_yes_base, p_yes_injected and shift in
    nats; also shift_low and shift_high where a rounding leaves an interval. Directions of a kind share one place.
    """
    rows = len(detections)
    height = min(1.4, (PAGE_HEIGHT - 1) / rows)
    figure = Figure(figsize=(look.settings.width, rows * height + 1), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False, sharex=True, sharey="col")
    prompts = look.prompts.ordered(str(prompt) for _, table in detections for prompt in table["prompt"])
    places = _in_order(members(vector for _, table in detections for vector in table["vector"]))
    for (name, table), (left, right) in zip(detections, axes, strict=True):
        for prompt, offset in zip(prompts, _side_by_side(len(prompts)), strict=True):
            part = table[table["prompt"] == prompt]
            x = np.array([places.index(place(vector)) for vector in part["vector"]]) + offset
            color = look.color(prompt)
            mark: dict[str, Any] = {
                "marker": look.marker(prompt),
                "markersize": 3.5 if len(places) < 8 else 2.5,
                "linestyle": "none",
                "color": color,
            }
            left.plot(x, part["shift"], **mark)
            if "shift_low" in part:
                left.vlines(x, part["shift_low"], part["shift_high"], color=color, linewidth=1)
            right.vlines(x, part["p_yes_base"], part["p_yes_injected"], color=color, linewidth=0.8)
            right.plot(x, part["p_yes_base"], **mark, markerfacecolor="white", markeredgewidth=0.8)
            right.plot(x, part["p_yes_injected"], **mark)
        left.axhline(0, color="0.7", linewidth=0.6, zorder=0)
        left.set_ylabel("yes shift (nats)")
        right.set_ylabel("p(yes)")
        right.set_ylim(-0.04, 1.04)
        left.set_title(figure_text(name), loc="left", fontweight="bold")
    for axis in axes[-1]:
        _name_places(axis, [figure_text(names.vector_label(name)) for name in places])
    handles = [
        *(sample(color=look.color(prompt), marker=look.marker(prompt), markersize=4, ls="none") for prompt in prompts),
        sample(color="0.3", marker="o", markerfacecolor="white", markersize=4, ls="none"),
    ]
    figure.legend(
        handles,
        [*(figure_text(look.prompts.label(prompt)) for prompt in prompts), "not injected"],
        loc="outside lower center",
        ncols=min(5, len(handles)),
        columnspacing=1,
        handletextpad=0.2,
    )
    return figure


def _in_order(places: Iterable[str]) -> list[str]:
    """Concepts as they come, then the persona, the finetune, random directions and what is made of concepts."""
    return sorted(places, key=lambda name: _LAST.index(name) if name in _LAST else -1)


def _name_places(axis: Axes, labels: Sequence[str]) -> None:
    """Name the integers of an x axis, slanted where the names are many or long."""
    axis.set_xticks(range(len(labels)), labels)
    axis.set_xlim(-0.6, len(labels) - 0.4)
    if len(labels) > 3 or max(map(len, labels)) > 12:
        for label in axis.get_xticklabels():
            label.set(rotation=35, horizontalalignment="right", rotation_mode="anchor")


def _side_by_side(count: int) -> list[float]:
    """Offsets that set `count` marks around a place."""
    return [0.0] if count == 1 else list(np.linspace(-0.27, 0.27, count))
