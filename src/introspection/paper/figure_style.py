"""The look of the paper's figures: one style for all, the same colour for the same prompt everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from introspection.files import whole
from introspection.paper.latex import needs_code_point
from introspection.paper.prompts import Prompts
from introspection.settings import FiguresSettings

FONT = "DejaVu Sans"  # matplotlib brings it along, so figures are the same on every machine
MARKERS = ("o", "s", "D", "^", "v")
PANEL_COLUMNS = 3
PAGE_HEIGHT = 8.0  # inches, with the caption's room taken off
LEAST_SPAN = 0.001  # of a probability axis, so that nothing does not look like something
FORMATS = ("pdf", "svg")
DASHED: dict[str, Any] = {"linewidth": 0.8, "linestyle": (0, (2, 1.5))}  # a curve without the injection
SHADE = "0.92"  # of injected layers

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """How figures look: their settings, and the prompts, each of which has its colour and its marker."""

    settings: FiguresSettings
    prompts: Prompts

    def color(self, condition: str) -> Color:
        """The colour of a prompt, or of weak injection, by its place among all; grey for one of another study."""
        conditions = self.prompts.conditions
        if condition not in conditions:
            return (0.4, 0.4, 0.4)
        red, green, blue = sns.color_palette(self.settings.palette, len(conditions))[conditions.index(condition)]
        return red, green, blue

    def marker(self, condition: str) -> str:
        """The marker of a prompt, by its place among all."""
        conditions = self.prompts.conditions
        return MARKERS[(conditions.index(condition) if condition in conditions else -1) % len(MARKERS)]

    @contextmanager
    def style(self) -> Iterator[None]:
        """The look of every figure, for drawing and for saving."""
        look = {
            **sns.axes_style("ticks"),
            **sns.plotting_context(self.settings.context, font_scale=0.92 * self.settings.font_scale),
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

    def panels(
        self, count: int, height: float = 1.45, share_x: bool = True, share_y: bool = True, columns: int = PANEL_COLUMNS
    ) -> tuple[Figure, list[Axes]]:
        """A figure of `count` panels of a height in inches, `columns` to a row at most, never higher than a page."""
        columns = min(columns, count)
        rows = math.ceil(count / columns)
        size = (self.settings.width, min(rows * height + 0.8, PAGE_HEIGHT))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharex=share_x, sharey=share_y)
        panels = list(axes.flat)
        for axis in panels[count:]:
            axis.set_visible(False)
        if rows > 1:  # a panel with nothing below it keeps its tick labels
            for axis in panels[count - columns : count]:
                axis.tick_params(labelbottom=True)
        return figure, panels[:count]


def save(figure: Figure, path: Path) -> None:
    """Write a figure as `path` with each suffix of FORMATS, without dates: the same figure, the same bytes."""
    for suffix in FORMATS:
        metadata: dict[str, None] = {"CreationDate": None} if suffix == "pdf" else {"Date": None}
        with whole(path.with_name(f"{path.name}.{suffix}")) as unfinished:
            figure.savefig(unfinished, format=suffix, metadata=metadata)


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


def name_edges(panels: Sequence[Axes], x: str, y: str, columns: int = PANEL_COLUMNS) -> None:
    """Name the axes at the left and lower edges of a grid of panels, `columns` to a row at most."""
    columns = min(columns, len(panels))
    for index, axis in enumerate(panels):
        if index % columns == 0:
            axis.set_ylabel(y)
        if index >= len(panels) - columns:
            axis.set_xlabel(x)


def shade_layers(axis: Axes, blocks: tuple[int, int]) -> None:
    """Shade what an inclusive range of decoder blocks writes: block k writes layer k + 1."""
    axis.axvspan(blocks[0] + 0.5, blocks[1] + 1.5, color=SHADE, zorder=0)


def finish_layers(axis: Axes, title: str) -> None:
    """The title and the scales of a panel of probabilities by layer."""
    axis.set_ylim(0, max(LEAST_SPAN, axis.get_ylim()[1]))
    axis.set_title(figure_text(title), loc="left")
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def sample(**look: Any) -> Line2D:
    """A line or a mark of a legend."""
    return Line2D([], [], **look)
