"""The population in the report: its shifts kind by kind, and how well they tell concepts from other directions."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from introspection import names
from introspection.experiments.population.figure import kind_label, population_figure
from introspection.experiments.population.statistics import with_difference
from introspection.experiments.population.tables import EFFECT, MATCHINGS, NORM, POPULATION, SUMMARY
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.render import Renderer, origin
from introspection.settings import Settings

FILES = (POPULATION.name, SUMMARY.name)


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The table of a model's population, and what the prose says of it under the first prompt."""
    results, paths = renderer.results, [model.path(name) for name in FILES]
    if not results.expects(*paths):
        return {}
    summary = results.read(SUMMARY, model.key)
    labels = {str(prompt): renderer.prompts.label(str(prompt)) for prompt in summary["prompt"]}
    rows = summary_rows(summary, labels)
    first = summary[summary["prompt"] == summary["prompt"].iloc[0]]
    at_norm, at_effect = (first[first["matching"] == matching].set_index("kind") for matching in (NORM, EFFECT))
    values: dict[str, str] = {
        "population.answers.origin": origin(results.source(paths[0])),
        "population.origin": origin(results.source(paths[1])),
        "population.table": renderer.render("population", f"population-{model.key}", paths[1:], rows=rows, model=model),
        "population.kl": f"{at_norm['kl']['concept']:.2f}",
        "population.cosine": f"{at_norm['cosine']['concept']:.2f}",
        **{f"population.{kind}": wording.nats(at_norm["shift"][kind]) for kind in ("concept", *names.DERIVED)},
    }
    for matching, table in ((NORM, at_norm), (EFFECT, at_effect)):
        values |= nearest_values(table, f"population.{matching}")
    if unreached := int(at_effect["unreached"].sum()):
        values["population.unreached"] = str(unreached)
    return values


def nearest_values(table: pd.DataFrame, prefix: str) -> dict[str, str]:
    """Of the kinds without a concept, the one that shifts the answer most like concepts; nothing where none is there.

    table: rows of the summary by kind.
    """
    drawn = table.loc[table.index.isin(names.DRAWN), "auc"].dropna()
    if drawn.empty:
        return {}
    nearest = str((drawn - 0.5).abs().idxmin())
    return {f"{prefix}.nearest": kind_label(nearest), f"{prefix}.nearest.auc": auc_text(table.loc[nearest])}


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """Who is in the population, and how it was measured and compared."""
    results, chosen = renderer.results, settings.population
    measured = [model for model in reported_models(settings) if results.expects(model.path(POPULATION.name))]
    if not measured:
        return {}
    table = results.read(POPULATION, measured[0].key)
    concepts = list(dict.fromkeys(table.loc[table["kind"] == "concept", "vector"]))
    return {
        "population.concepts": wording.listing(concepts),
        "population.concepts.count": str(len(concepts)),
        "population.prompts": wording.listing([renderer.prompts.label(prompt) for prompt in chosen.prompts]),
        "population.directions": wording.count(chosen.directions),
        "population.suffixes": wording.count(chosen.suffixes),
        "population.passages": wording.count(chosen.effect.passages),
        "population.fewer": wording.count(chosen.effect.directions),
        "population.strongest": wording.number(chosen.effect.strongest),
        "population.tolerance": wording.plain_percent(chosen.effect.tolerance),
        "population.resamples": str(chosen.resamples),
        "population.permutations": str(chosen.permutations),
        "population.confidence": wording.plain_percent(chosen.confidence),
    }


def figures(gallery: Gallery, settings: Settings, model: ReportedModel) -> None:
    """Every direction's shift."""
    path = model.path(POPULATION.name)
    if gallery.results.expects(path):
        table = with_difference(gallery.results.read(POPULATION, model.key))
        gallery.add(f"population-{model.key}", population_figure(table, gallery.look), [path])


def summary_rows(summary: pd.DataFrame, labels: dict[str, str]) -> list[dict[str, Any]]:
    """A row for each prompt, matching and kind; `title` is there where a new part of the table begins."""
    rows = []
    for (prompt, matching), part in summary.groupby(["prompt", "matching"], sort=False):
        for place, row in enumerate(part.to_dict("records")):
            rows.append(
                {
                    "title": f"{TITLES[str(matching)]}, {labels[str(prompt)]}" if place == 0 else "",
                    "kind": kind_label(row["kind"]),
                    "directions": str(row["directions"]),
                    "strength": _cell(row["strength"], ".3g"),
                    "kl": _cell(row["kl"], ".2f"),
                    "cosine": _cell(row["cosine"], ".2f"),
                    "p_yes": wording.percent(row["p_yes_injected"]),
                    "shift": wording.nats(row["shift"]),
                    "auc": auc_text(row),
                    "p_value": _cell(row["p_value"], ".4f"),
                }
            )
    return rows


TITLES = dict(zip(MATCHINGS, ("at equal norm", "at equal effect"), strict=True))


def auc_text(row: Any) -> str:
    """The area under the curve with its interval where it has one; a dash where nothing is compared."""
    if math.isnan(row["auc"]):
        return "–"
    interval = "" if math.isnan(row["auc_low"]) else f" [{row['auc_low']:.2f}, {row['auc_high']:.2f}]"
    return f"{row['auc']:.2f}{interval}"


def _cell(value: float, form: str) -> str:
    """A number so formed, no minus before a zero; a dash where there is none."""
    text = "–" if math.isnan(value) else format(value, form)
    return text.removeprefix("-") if float(text.replace("–", "0")) == 0 else text.replace("-", "−")
