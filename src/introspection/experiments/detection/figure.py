"""The paper's main figure: the answer yes without and with an injection, in the post's model and ours, on one axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from introspection import names
from introspection.paper.figure_style import PAGE_HEIGHT, Look, figure_text, sample

FLOOR: tuple[names.Kind, ...] = ("random", "coherent")
"""Kinds that hold no concept, each drawn as its mean and range."""
GREY = "0.55"
CLEAR = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # behind words, so that no line crosses them
BESIDE: dict[str, Any] = {"textcoords": "offset points", "va": "center", "bbox": CLEAR}
HEAD = "-|>,head_width=0.14,head_length=0.3"
ROW, GAP, TITLE = 1.0, 0.7, 2.1  # heights in the unit of one arrow
INCHES = 0.115  # of that unit
PROBABILITIES = (1e-6, 1e-4, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999, 0.999999)
LABELLED = 6  # concepts to a prompt that still have their names beside them


@dataclass(frozen=True)
class Cells:
    """A model's part of the figure.

    name: of the model. note: what is said beside it. table: the columns vector, prompt, log_odds_yes_base and
    log_odds_yes_injected in nats, and the ends injected_low, injected_high of the latter where an interval is known.
    """

    name: str
    note: str
    table: pd.DataFrame


@dataclass(frozen=True)
class Arrow:
    """From the answer without injection to the one with it, in nats; low and high: what the head leaves open."""

    label: str
    prompt: str
    base: float
    injected: float
    low: float
    high: float
    floor: bool


def detection_figure(cells: Sequence[Cells], prompts: Sequence[str], look: Look) -> Figure:
    """An arrow for each concept under each of `prompts`, model by model; below them directions without a concept."""
    parts = [(part, [list(arrows_of(part.table, prompt)) for prompt in prompts]) for part in cells]
    height = sum(TITLE + sum(GAP + ROW * len(arrows) for arrows in by_prompt if arrows) for _, by_prompt in parts)
    size = (look.settings.width, min(height * INCHES + 1.1, PAGE_HEIGHT))
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    axis.axvline(0, color="0.8", linewidth=0.6, zorder=0)
    y, ticks = 0.0, []
    for part, by_prompt in parts:
        y += TITLE
        for x, offset, side, text in ((0, 2, "left", part.name), (1, -2, "right", part.note)):
            axis.annotate(
                figure_text(text),
                (x, y - 0.5),
                (offset, 0),
                xycoords=("axes fraction", "data"),
                ha=side,
                weight="bold" if side == "left" else "normal",
                **BESIDE,
            )
        for prompt, arrows in zip(prompts, by_prompt, strict=True):
            if not arrows:
                continue
            y += GAP
            ticks.append((y + ROW * (len(arrows) - 1) / 2, look.prompts.label(prompt)))
            named = sum(not arrow.floor for arrow in arrows) <= LABELLED
            for arrow in arrows:
                _draw(axis, y, arrow, look, named)
                y += ROW
    axis.set_ylim(y, 0)
    axis.set_yticks([place for place, _ in ticks], [figure_text(label) for _, label in ticks])
    axis.tick_params(axis="y", length=0)
    axis.margins(x=0.09)
    axis.set_xlabel("log-odds of yes (nats)")
    top = axis.secondary_xaxis("top", functions=(lambda x: x, lambda x: x))
    low, high = axis.get_xlim()
    shown = [p for p in PROBABILITIES if low < np.log(p / (1 - p)) < high]
    top.set_xticks([float(np.log(p / (1 - p))) for p in shown], [f"{100 * p:.8g}%" for p in shown])
    top.set_xlabel("probability of yes")
    handles = [sample(color=look.color(prompt), linewidth=1.2) for prompt in prompts]
    handles += [
        sample(color=GREY, linewidth=1.2),
        sample(color="0.3", marker="o", markerfacecolor="white", markersize=4, ls="none"),
    ]
    labels = [
        *(figure_text(look.prompts.label(prompt)) for prompt in prompts),
        "no concept: mean, range",
        "not injected",
    ]
    figure.legend(handles, labels, loc="outside lower center", ncols=4, columnspacing=1, handletextpad=0.4)
    return figure


def arrows_of(table: pd.DataFrame, prompt: str) -> Iterator[Arrow]:
    """The concepts' arrows in the order of the table, then one for each kind without a concept: mean and range."""
    rows = table[table["prompt"] == prompt]
    for row in rows[rows["vector"].map(names.kind_of) == "concept"].to_dict("records"):
        base, injected = row["log_odds_yes_base"], row["log_odds_yes_injected"]
        low, high = (row.get(f"injected_{end}", np.nan) for end in ("low", "high"))
        yield Arrow(str(row["vector"]), prompt, base, injected, low, high, floor=False)
    for kind in FLOOR:
        part = rows[rows["vector"].map(names.kind_of) == kind]
        if len(part):
            injected = part["log_odds_yes_injected"]
            label = names.vector_label(kind)
            yield Arrow(
                label,
                prompt,
                part["log_odds_yes_base"].mean(),
                injected.mean(),
                injected.min(),
                injected.max(),
                floor=True,
            )


def _draw(axis: Axes, y: float, arrow: Arrow, look: Look, named: bool) -> None:
    color = GREY if arrow.floor else look.color(arrow.prompt)
    if not np.isnan(arrow.low):
        axis.hlines(y, arrow.low, arrow.high, color=color, linewidth=2.6, alpha=0.35)
    line = {"color": color, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", (arrow.injected, y), (arrow.base, y), arrowprops={"arrowstyle": HEAD, **line})
    axis.plot([arrow.base, arrow.injected], [y, y], linestyle="none", marker="none")  # for the limits of the axis
    axis.plot(arrow.base, y, marker="o", markersize=3, color=color, markerfacecolor="white", markeredgewidth=0.8)
    if named and not arrow.floor:
        right = np.nanmax([arrow.base, arrow.injected, arrow.high])
        axis.annotate(figure_text(arrow.label), (right, y), (4, 0), fontsize=8, **BESIDE)
