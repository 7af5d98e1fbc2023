"""The figure of the population: every direction's shift of the answer, kind by kind."""

from __future__ import annotations

from itertools import product

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from introspection import names
from introspection.experiments.population.tables import MATCHINGS
from introspection.paper.figure_style import Look, figure_text, sample

TITLES = dict(zip(MATCHINGS, ("equal norm", "equal effect"), strict=True))
COLORS: dict[str, str] = {"concept": "C0", **dict.fromkeys(names.DERIVED, "C1"), **dict.fromkeys(names.DRAWN, "0.35")}


def kind_label(kind: str) -> str:
    """A kind in words, concepts too."""
    return "concepts" if kind == "concept" else names.vector_label(kind)


def population_figure(population: pd.DataFrame, look: Look) -> Figure:
    """A row of panels for each prompt, equal norm beside equal effect; a dash is a direction, a dot its kind's median.

    population: with the column `shift`, in nats; directions without the effect they were to have are left out.
    """
    kinds = [str(kind) for kind in dict.fromkeys(population["kind"])]
    prompts = list(dict.fromkeys(population["prompt"]))
    figure = Figure(figsize=(look.settings.width, 2.4 * len(prompts) + 0.6), layout="constrained")
    axes = figure.subplots(len(prompts), len(MATCHINGS), squeeze=False, sharex=True, sharey=True)
    for axis, (prompt, matching) in zip(axes.flat, product(prompts, MATCHINGS), strict=True):
        part = population[
            (population["prompt"] == prompt) & (population["matching"] == matching) & population["reached"]
        ]
        axis.axvline(0, color="0.8", linewidth=0.6, zorder=0)
        sns.stripplot(
            part, x="shift", y="kind", order=kinds, hue="kind", palette=COLORS, hue_order=kinds, ax=axis,
            marker="|", size=7, linewidth=0.8, alpha=0.6, jitter=False, legend=False,
        )  # fmt: skip
        medians = part.groupby("kind")["shift"].median()
        for place, kind in enumerate(kinds):
            if kind in medians:
                axis.plot(medians[kind], place, marker="o", markersize=4, color=COLORS[kind], markeredgecolor="white")
        axis.set_title(figure_text(f"{TITLES[matching]}, {look.prompts.label(prompt)}"), loc="left")
        axis.set(ylabel="", xlabel="")
        axis.set_yticks(range(len(kinds)), [figure_text(kind_label(kind)) for kind in kinds])
    for axis in axes[-1]:
        axis.set_xlabel("yes shift (nats)")
    look_of = {"linestyle": "none", "color": "0.35"}
    figure.legend(
        [sample(marker="|", markersize=7, **look_of), sample(marker="o", markersize=4, **look_of)],
        ["a direction", "median"],
        loc="outside lower center",
        ncols=2,
    )
    return figure
