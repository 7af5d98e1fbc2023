"""The paper's figures, from result files: one look for all, the same colour for the same condition everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from introspection.paper.latex import needs_code_point
from introspection.paper.wording import prompt_label, scenario_label, vector_label
from introspection.settings import FiguresSettings

FONT = "DejaVu Sans"  # matplotlib brings it along, so figures are the same on every machine
CONDITIONS = ("no_info", "info", "inaccurate_location", "lorem_ipsum", "weak")
MARKERS = ("o", "s", "D", "^", "v")
PANEL_COLUMNS = 3
PAGE_HEIGHT = 8.0  # inches, with the caption's room taken off
LEAST_SPAN = 0.001  # of a probability axis, so that nothing does not look like something
FORMATS = ("pdf", "svg")


@contextmanager
def style(settings: FiguresSettings) -> Iterator[None]:
    """The look of every figure, for drawing and for saving."""
    look = {
        **sns.axes_style("ticks"),
        **sns.plotting_context(settings.context, font_scale=0.85 * settings.font_scale),
        "font.family": [FONT],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "legend.frameon": False,
        "pdf.fonttype": 42,  # text stays text
        "svg.hashsalt": "introspection",  # else element ids are drawn by chance
        "figure.max_open_warning": 0,
    }
    with matplotlib.rc_context(look):
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a figure as `path` with each suffix of FORMATS, without dates: the same figure, the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for suffix in FORMATS:
        metadata: dict[str, None] = {"CreationDate": None} if suffix == "pdf" else {"Date": None}
        partial = path.with_name(f".{path.name}.{suffix}")
        figure.savefig(partial, format=suffix, metadata=metadata)
        partial.replace(path.with_name(f"{path.name}.{suffix}"))


def figure_text(text: str) -> str:
    """Text that matplotlib draws as it is: no formulas, and a code point for every character that its font lacks."""
    shown = []
    for character in text:
        if needs_code_point(character) or ord(character) not in _characters():
            shown.append("⏎" if character == "\n" else f"U+{ord(character):04X}")
        else:
            shown.append(r"\$" if character == "$" else character)
    return "".join(shown)


@cache
def _characters() -> frozenset[int]:
    return frozenset(FT2Font(findfont(FONT)).get_charmap())


def condition_colors(settings: FiguresSettings) -> dict[str, tuple[float, float, float]]:
    """A colour for each prompt, and for weak steering."""
    return dict(zip(CONDITIONS, sns.color_palette(settings.palette, len(CONDITIONS)), strict=True))


def detection_figure(detections: Sequence[tuple[str, pd.DataFrame]], settings: FiguresSettings) -> Figure:
    """The yes shift in nats (left) and the yes probability with and without injection (right), a row per model.

    detections: each model's name and table, with the columns vector, prompt, p_yes_base, p_yes_injected and shift in
    nats; also shift_low and shift_high where a rounding leaves an interval. Random directions share one place.
    """
    rows = len(detections)
    height = min(1.4, (PAGE_HEIGHT - 1) / rows)
    figure = Figure(figsize=(settings.width, rows * height + 1), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False, sharex=True, sharey="col")
    colors = condition_colors(settings)
    prompts = _ordered({prompt for _, table in detections for prompt in table["prompt"]})
    places = _places([str(vector) for _, table in detections for vector in table["vector"]])
    for (name, table), (left, right) in zip(detections, axes, strict=True):
        for prompt, offset, marker in zip(prompts, _dodge(len(prompts)), _markers(len(prompts)), strict=True):
            part = table[table["prompt"] == prompt]
            x = np.array([places.index(_place(vector)) for vector in part["vector"]]) + offset
            color = colors.get(prompt, (0.4, 0.4, 0.4))
            look: dict[str, Any] = {
                "marker": marker,
                "markersize": 3.5 if len(places) < 8 else 2.5,
                "linestyle": "none",
                "color": color,
            }
            left.plot(x, part["shift"], **look)
            if "shift_low" in part:
                left.vlines(x, part["shift_low"], part["shift_high"], color=color, linewidth=1)
            right.vlines(x, part["p_yes_base"], part["p_yes_injected"], color=color, linewidth=0.8)
            right.plot(x, part["p_yes_base"], **look, markerfacecolor="white", markeredgewidth=0.8)
            right.plot(x, part["p_yes_injected"], **look)
        left.axhline(0, color="0.7", linewidth=0.6, zorder=0)
        left.set_ylabel("yes shift (nats)")
        right.set_ylabel("p(yes)")
        right.set_ylim(-0.04, 1.04)
        left.set_title(figure_text(name), loc="left", fontweight="bold")
    for axis in axes[-1]:
        _name_places(axis, [figure_text(vector_label(place)) for place in places])
    handles = [
        Line2D([], [], color=colors.get(prompt, (0.4, 0.4, 0.4)), marker=marker, markersize=4, linestyle="none")
        for prompt, marker in zip(prompts, _markers(len(prompts)), strict=True)
    ]
    handles.append(Line2D([], [], color="0.3", marker="o", markerfacecolor="white", markersize=4, linestyle="none"))
    figure.legend(
        handles,
        [*(figure_text(prompt_label(prompt)) for prompt in prompts), "not injected"],
        loc="outside lower center",
        ncols=len(handles),
        columnspacing=1,
        handletextpad=0.2,
    )
    return figure


def lens_figure(
    lens: pd.DataFrame, vectors: Sequence[str], injected: tuple[int, int], settings: FiguresSettings
) -> Figure:
    """The summed probability of the yes variants after every layer: a panel per vector, a colour per scenario.

    Solid with the injection, dashed without. `injected` is the inclusive range of decoder blocks; block k writes
    layer k + 1, which is where its shade lies.
    """
    figure, panels = _panels(len(vectors), settings)
    colors = condition_colors(settings)
    scenarios = _ordered(set(lens["scenario"]))
    for vector, axis in zip(vectors, panels, strict=True):
        axis.axvspan(injected[0] + 0.5, injected[1] + 1.5, color="0.92", zorder=0)
        for scenario in scenarios:
            part = lens[(lens["vector"] == vector) & (lens["scenario"] == scenario)].sort_values("layer")
            color = colors.get(scenario, (0.4, 0.4, 0.4))
            axis.plot(part["layer"], part["p_yes_base"], color=color, linewidth=0.8, linestyle=(0, (2, 1.5)))
            axis.plot(part["layer"], part["p_yes_injected"], color=color, linewidth=1.2)
        axis.set_ylim(0, max(LEAST_SPAN, axis.get_ylim()[1]))
        axis.set_title(figure_text(vector_label(vector)), loc="left")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label_edges(panels, "layer", "p(yes), all variants")
    handles: list[Line2D | Patch] = [Line2D([], [], color=colors.get(name, (0.4, 0.4, 0.4))) for name in scenarios]
    labels = [figure_text(scenario_label(scenario)) for scenario in scenarios]
    handles += [
        Line2D([], [], color="0.3", linewidth=0.8, linestyle=(0, (2, 1.5))),
        Patch(facecolor="0.92"),
    ]
    figure.legend(
        handles,
        [*labels, "not injected", "injected layers"],
        loc="outside lower center",
        ncols=3,
        columnspacing=1,
    )
    return figure


def content_figure(
    content: pd.DataFrame,
    vectors: Sequence[str],
    tokens: Mapping[str, str],
    injected: tuple[int, int],
    settings: FiguresSettings,
) -> Figure:
    """The probability of concept tokens after the longer beginning of the reply: a panel per vector.

    A colour per prompt. The injected concept's own token is drawn solid with the injection and dashed without; the
    other concepts' tokens, injected, are thin lines of the same colour. `tokens`: by concept, the token that names it.
    """
    figure, panels = _panels(len(vectors), settings, share=False)
    colors = condition_colors(settings)
    prompts = _ordered(set(content["prompt"]))
    for vector, axis in zip(vectors, panels, strict=True):
        axis.axvspan(injected[0] + 0.5, injected[1] + 1.5, color="0.92", zorder=0)
        for prompt in prompts:
            part = content[(content["vector"] == vector) & (content["prompt"] == prompt)]
            color = colors.get(prompt, (0.4, 0.4, 0.4))
            for token, line in part.groupby("token", sort=True):
                line = line.sort_values("layer")
                own = token == tokens.get(vector)
                if own:
                    axis.plot(line["layer"], line["p_base"], color=color, linewidth=0.8, linestyle=(0, (2, 1.5)))
                axis.plot(line["layer"], line["p_injected"], color=color, linewidth=1.3 if own else 0.4)
        axis.set_ylim(0, max(LEAST_SPAN, axis.get_ylim()[1]))
        axis.set_title(figure_text(vector_label(vector)), loc="left")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label_edges(panels, "layer", "p(concept token)")
    handles = [
        *(Line2D([], [], color=colors.get(prompt, (0.4, 0.4, 0.4)), linewidth=1.3) for prompt in prompts),
        Line2D([], [], color="0.3", linewidth=0.8, linestyle=(0, (2, 1.5))),
        Line2D([], [], color="0.3", linewidth=0.4),
    ]
    labels = [f"own token, {prompt_label(prompt)}" for prompt in prompts]
    figure.legend(
        handles,
        [*map(figure_text, labels), "own token, not injected", "other concepts' tokens, injected"],
        loc="outside lower center",
        ncols=2,
        columnspacing=1,
    )
    return figure


def sweep_figure(
    sweep: pd.DataFrame,
    usual: tuple[int, int],
    chosen: tuple[int, int],
    settings: FiguresSettings,
) -> Figure:
    """Heat maps of p(yes) under injection over first and last layer, a panel per vector and prompt of the sweep.

    A circle marks the model's own range, a cross the chosen one.
    """
    cells = list(dict.fromkeys(zip(sweep["vector"], sweep["prompt"], strict=True)))
    figure, panels = _panels(len(cells), settings, panel_height=1.9)
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
        axis.set_title(figure_text(f"{vector_label(vector)}, {prompt_label(prompt)}"), loc="left")
    _label_edges(panels, "last layer", "first layer")
    if image is not None:
        figure.colorbar(image, ax=list(panels), label="p(yes), injected", shrink=0.8)
    return figure


def shifts_figure(shifts: pd.DataFrame, settings: FiguresSettings) -> Figure:
    """The post's yes shifts on two scales, row by row: as it prints them, and in nats with the interval left open."""
    figure = Figure(figsize=(settings.width, 0.22 * len(shifts) + 1), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    colors = condition_colors(settings)
    labels = []
    for place, row in enumerate(shifts.to_dict("records")):
        prompt = str(row["prompt"])
        color, marker = colors.get(prompt, (0.4, 0.4, 0.4)), MARKERS[_ordered(set(shifts["prompt"])).index(prompt)]
        left.barh(place, row["p_yes_shift"], color=color, height=0.6)
        right.plot(row["log_odds_shift"], place, marker=marker, markersize=3.5, color=color)
        right.hlines(place, row["log_odds_shift_low"], row["log_odds_shift_high"], color=color, linewidth=1)
        layers = "" if math.isnan(row["first_layer"]) else f", from layer {row['first_layer']:.0f}"
        labels.append(figure_text(f"{vector_label(str(row['vector']))}, {prompt_label(prompt)}{layers}"))
    left.set_yticks(range(len(labels)), labels)
    left.invert_yaxis()
    left.set_xlabel("shift of p(yes), as printed")
    right.set_xlabel("shift of log-odds (nats)")
    right.set_xlim(left=0)
    right.grid(axis="y", color="0.9", linewidth=0.5)
    right.set_axisbelow(True)
    return figure


def _panels(
    count: int, settings: FiguresSettings, panel_height: float = 1.45, share: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, three to a row at most, never higher than a page."""
    columns = min(PANEL_COLUMNS, count)
    rows = math.ceil(count / columns)
    height = min(rows * panel_height + 0.8, PAGE_HEIGHT)
    figure = Figure(figsize=(settings.width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=share)
    panels = list(axes.flat)
    for axis in panels[count:]:
        axis.set_visible(False)
    if rows > 1:  # a panel with nothing below it keeps its tick labels
        for axis in panels[count - columns : count]:
            axis.tick_params(labelbottom=True)
    return figure, panels[:count]


def _label_edges(panels: Sequence[Axes], x: str, y: str) -> None:
    """Name the axes at the left and lower edges of a grid of panels."""
    columns = min(PANEL_COLUMNS, len(panels))
    for index, axis in enumerate(panels):
        if index % columns == 0:
            axis.set_ylabel(y)
        if index >= len(panels) - columns:
            axis.set_xlabel(x)


def _place(vector: str) -> str:
    """Where a vector stands on the axis: random directions stand together."""
    return "random" if vector.startswith("random_") else vector


def _places(vectors: Sequence[str]) -> list[str]:
    """The places on the axis: concepts as they come, then the persona, the finetune and random directions."""
    found = list(dict.fromkeys(map(_place, vectors)))
    last = [name for name in ("persona", "finetune", "random") if name in found]
    return [name for name in found if name not in last] + last


def _name_places(axis: Axes, labels: Sequence[str]) -> None:
    """Name the integers of an x axis, slanted where the names are many or long."""
    axis.set_xticks(range(len(labels)), labels)
    axis.set_xlim(-0.6, len(labels) - 0.4)
    if len(labels) > 3 or max(map(len, labels)) > 12:
        for label in axis.get_xticklabels():
            label.set(rotation=35, horizontalalignment="right", rotation_mode="anchor")


def _dodge(count: int) -> list[float]:
    """Offsets that set `count` marks side by side around a place."""
    return [0.0] if count == 1 else list(np.linspace(-0.27, 0.27, count))


def _markers(count: int) -> list[str]:
    return [MARKERS[index % len(MARKERS)] for index in range(count)]


def _ordered(names: set[str]) -> list[str]:
    """Known conditions in the study's order, then the others by name."""
    return [name for name in CONDITIONS if name in names] + sorted(names - set(CONDITIONS))
