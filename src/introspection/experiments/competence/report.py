"""Competence in the report: a table for each model, and whether what moves its answer may be called a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from introspection import names
from introspection.experiments.competence.tables import COMPETENCE
from introspection.paper import wording
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.render import Renderer, origin
from introspection.paper.results import Results
from introspection.paper.summaries import means_last, members
from introspection.settings import Settings

VERDICT = "competence.json"


@dataclass(frozen=True)
class Verdict:
    """What `competence.json` says: whether the model can answer, by the rule of params.yaml."""

    can_answer: bool


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The competence table of a model; of `competent` and `incompetent`, the value is there that holds."""
    results, paths = renderer.results, [model.path(COMPETENCE.name), model.path(VERDICT)]
    if not results.expects(*paths):
        return {}
    table = results.read(COMPETENCE, model.key)
    rows = competence_rows(table)
    (found,) = [row for row in rows if row["place"] == names.NOTHING]
    lowest = lowest_of(rows)
    values: dict[str, str] = {
        "competence.table": renderer.render("competence", f"competence-{model.key}", paths, rows=rows, model=model),
        "competence.origin": origin(results.source(paths[0])),
        **{f"competence.{name}": found[name] for name in ("right", "questions", "yes", "no", "balanced", "mass")},
    }
    if lowest["lowest"] < found["lowest"]:
        values |= {"competence.lowest": wording.share(lowest["lowest"]), "competence.lowest.under": lowest["vector"]}
    return values | {"competent" if can_answer(results, model) else "incompetent": "yes"}


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """The rule, and the models that cannot answer by it."""
    rule, results = settings.competence, renderer.results
    models = [model for model in reported_models(settings) if results.expects(model.path(VERDICT))]
    unable = [model.key for model in models if not can_answer(results, model)]
    values: dict[str, str] = {
        "competence.accuracy.least": wording.plain_percent(rule.accuracy_at_least),
        "competence.mass.least": wording.plain_percent(rule.answer_mass_at_least),
        "competence.confidence": wording.plain_percent(rule.confidence),
    }
    return values | ({"incompetent.models": wording.listing(unable)} if unable else {})


def can_answer(results: Results, model: ReportedModel) -> bool:
    """Whether a model can answer the control questions."""
    return results.json(model.path(VERDICT), Verdict).can_answer


def lowest_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the rows of a competence table under an injection, the one with the least accuracy."""
    return min((row for row in rows if row["place"] != names.NOTHING), key=lambda row: float(row["lowest"]))


def competence_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for nothing injected and for each vector, directions of a kind as their mean, which has no interval.

    place: what is injected, by its name. lowest: the least balanced accuracy of those that share a row.
    """
    places = members(table["vector"])
    rows = []
    for place in means_last(places):
        part = table[table["vector"].isin(places[place])]
        mean = part.select_dtypes("number").mean()
        alone = len(part) == 1
        rows.append(
            {
                "place": place,
                "vector": names.vector_label(place),
                "questions": f"{mean['questions']:g}",
                "right": f"{mean['right']:.{0 if alone else 1}f}",
                "interval": f"{wording.share(mean['accuracy_low'])} to {wording.share(mean['accuracy_high'])}"
                if alone
                else "–",
                "accuracy": wording.share(mean["accuracy"]),
                "yes": wording.share(mean["accuracy_yes"]),
                "no": wording.share(mean["accuracy_no"]),
                "balanced": wording.share(mean["balanced_accuracy"]),
                "mass": wording.share(mean["answer_mass"]),
                "lowest": float(part["balanced_accuracy"].min()),
            }
        )
    return rows
