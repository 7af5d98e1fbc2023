"""The figures of the suffixes: the audit of signs by block, and the shift of yes under vectors of other suffixes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from introspection.experiments.suffixes.resampling import HALVES, is_bootstrap
from introspection.paper.figure_style import Look, figure_text, name_edges, sample
from introspection.paper.summaries import with_shift

STRIPS = {  # by column of the audit: the title, and the ends of its scale, in whose middle the suffixes disagree
    "positive_share": ("pairs on the positive side", (0.0, 1.0)),
    "cosine_halves": ("cosine between the halves", (-1.0, 1.0)),
}
COLUMNS = 4  # of panels, one for each prompt of the study
RESAMPLE: dict[str, Any] = {"marker": "_", "markersize": 9, "markeredgewidth": 0.8, "color": "0.55", "ls": "none"}
HALF: dict[str, Any] = {"markersize": 4, "color": "C1", "markerfacecolor": "none", "ls": "none"}
OTHER: dict[str, Any] = {"marker": "x", "markersize": 6, "color": "C3", "ls": "none"}
STUDY: dict[str, Any] = {"marker": "o", "markersize": 3, "color": "C0", "ls": "none"}
MARKS = dict(zip(HALVES, ("^", "v"), strict=True))


def audit_figure(audit: pd.DataFrame, layers: tuple[int, int], look: Look) -> Figure:
    """Two heat strips, a row per concept and a column per block; a cross where the rules for the sign part.

    Lines bound the model's own layers, an inclusive range of blocks.
    """
    concepts = list(dict.fromkeys(audit["vector"]))
    figure = Figure(figsize=(look.settings.width, 0.9 + 0.17 * len(concepts)), layout="constrained")
    axes = figure.subplots(1, len(STRIPS), sharey=True)
    for (column, (title, ends)), axis in zip(STRIPS.items(), axes, strict=True):
        grid = audit.pivot(index="vector", columns="block", values=column).loc[concepts]
        blocks = grid.columns.to_numpy(int)
        edges = np.append(blocks, blocks[-1] + 1) - 0.5
        image = axis.pcolormesh(
            edges, np.arange(len(concepts) + 1) - 0.5, grid.to_numpy(float), cmap="vlag_r", vmin=ends[0], vmax=ends[1]
        )
        parted = audit[~audit["rules_agree"].to_numpy(bool)]
        axis.plot(parted["block"], [concepts.index(name) for name in parted["vector"]], **OTHER | {"color": "k"})
        for edge in (layers[0] - 0.5, layers[1] + 0.5):
            axis.axvline(edge, color="k", linewidth=0.8)
        axis.set_yticks(range(len(concepts)), map(figure_text, concepts))
        axis.set_ylim(len(concepts) - 0.5, -0.5)
        axis.set_title(title, loc="left")
        axis.set_xlabel("block")
        figure.colorbar(image, ax=axis, ticks=[ends[0], sum(ends) / 2, ends[1]], shrink=0.9)
    return figure


def shift_figure(asked: pd.DataFrame, intervals: pd.DataFrame, other: str, look: Look) -> Figure:
    """The shift of yes in nats, a panel per prompt and a place per concept: the study's vector, and those beside it.

    asked, intervals: `suffix_detection.csv` and `suffix_intervals.csv`. other: the kind with the other rule's sign.
    """
    prompts, concepts = (list(dict.fromkeys(intervals[name])) for name in ("prompt", "vector"))
    figure, panels = look.panels(len(prompts), height=1.5, columns=COLUMNS)
    shifted = with_shift(asked)
    looks = {**{half: HALF | {"marker": mark} for half, mark in MARKS.items()}, other: OTHER}
    beside = dict(zip(looks, (-0.22, 0.22, 0.0), strict=True))
    for prompt, axis in zip(prompts, panels, strict=True):
        here = shifted[shifted["prompt"] == prompt]
        axis.axhline(0, color="0.7", linewidth=0.6, zorder=0)
        _mark(axis, here[here["kind"].map(is_bootstrap)], concepts, RESAMPLE)
        for kind, marks in looks.items():
            _mark(axis, here[here["kind"] == kind], concepts, marks, beside[kind])
        _mark(axis, intervals[intervals["prompt"] == prompt], concepts, STUDY)
        axis.set_xticks(range(len(concepts)), map(figure_text, concepts))
        axis.tick_params(axis="x", rotation=60)
        axis.set_xlim(-0.6, len(concepts) - 0.4)
        axis.set_title(figure_text(look.prompts.label(prompt)), loc="left")
    name_edges(panels, "", "yes shift (nats)", COLUMNS)
    figure.legend(
        [sample(**marks) for marks in (STUDY, *looks.values(), RESAMPLE)],
        ["all suffixes", "one half", "other half", "sign by the other rule", "resamples"],
        loc="outside lower center",
        ncols=5,
        columnspacing=1,
        handletextpad=0.2,
    )
    return figure


def _mark(axis: Axes, rows: pd.DataFrame, concepts: list[str], look: dict[str, Any], offset: float = 0.0) -> None:
    axis.plot([concepts.index(name) + offset for name in rows["vector"]], rows["shift"], **look)
