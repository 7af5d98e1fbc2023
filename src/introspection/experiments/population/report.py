"""The population in the report: how well the shift tells concepts from directions that stand for none."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from introspection import names
from introspection.experiments.population.figure import kind_label, population_figure
from introspection.experiments.population.statistics import with_difference
from introspection.experiments.population.tables import EFFECT, NORM, POPULATION, SUMMARY
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.render import Renderer
from introspection.settings import Settings


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The floor at equal norm, and the kind of direction that is least told from a model's concepts at equal effect.

    That is the kind with the least lower end of its interval, as in the verdict's test, which counts fewer kinds.
    """
    if not renderer.results.expects(model.path(SUMMARY.name), model.path(POPULATION.name)):
        return {}
    population = of_first_prompt(renderer.results.read(POPULATION, model.key))
    values: dict[str, str] = {}
    if floor := _floor(population[population["matching"] == NORM]):
        values["population.floor"] = wording.listing(floor)
    summary = of_first_prompt(renderer.results.read(SUMMARY, model.key))
    at_effect = summary[summary["matching"] == EFFECT].set_index("kind")
    if missed := int(at_effect["unreached"].sum()):
        values["population.missed"] = wording.count(missed)
    drawn = at_effect[at_effect.index.isin(names.DRAWN)].dropna(subset="auc_low")
    if len(drawn):
        nearest = str(drawn["auc_low"].idxmin())
        values |= {
            "population.effect.nearest": kind_label(nearest),
            "population.effect.nearest.auc": auc_text(drawn.loc[nearest]),
        }
    return values


def _floor(population: pd.DataFrame) -> list[str]:
    """What each kind of direction without a concept does: the median shift, and how often yes passes one half."""
    drawn = with_difference(population[population["kind"].isin(names.DRAWN)])
    return [
        f"{wording.nats(rows['shift'].median())} under “{kind_label(str(kind))}” "
        f"({wording.share((rows['p_yes_injected'] > 0.5).mean())})"
        for kind, rows in drawn.groupby("kind", sort=False)
    ]


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """Who is in the population, and how it was measured and compared."""
    results, chosen = renderer.results, settings.population
    measured = [model for model in reported_models(settings) if results.expects(model.path(POPULATION.name))]
    if not measured:
        return {}
    table = results.read(POPULATION, measured[0].key)
    return {
        "population.concepts.count": str(table.loc[table["kind"] == "concept", "vector"].nunique()),
        "population.directions": wording.count(chosen.directions),
        "population.passages": wording.count(chosen.effect.passages),
        "population.fewer": wording.count(chosen.effect.directions),
        "population.tolerance": wording.plain_percent(chosen.effect.tolerance),
        "population.resamples": str(chosen.resamples),
        "population.confidence": wording.plain_percent(chosen.confidence),
    }


def figures_of_all(gallery: Gallery, settings: Settings) -> None:
    """The areas under the curve of every model."""
    results = gallery.results
    models = [model for model in reported_models(settings) if results.expects(model.path(SUMMARY.name))]
    if models:
        summaries = [(model.key, of_first_prompt(results.read(SUMMARY, model.key))) for model in models]
        paths = [model.path(SUMMARY.name) for model in models]
        gallery.add("population", population_figure(summaries, gallery.look), paths)


def of_first_prompt(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows of the prompt that stands first."""
    first: pd.DataFrame = summary[summary["prompt"] == summary["prompt"].iloc[0]]
    return first


def auc_text(row: Any) -> str:
    """The area under the curve with its interval where it has one."""
    interval = "" if math.isnan(row["auc_low"]) else f" [{row['auc_low']:.2f}, {row['auc_high']:.2f}]"
    return f"{row['auc']:.2f}{interval}"
