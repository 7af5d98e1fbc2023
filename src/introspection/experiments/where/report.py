"""Where in the report: how often the injected part is chosen, against chance and against the most abstract part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from introspection import names
from introspection.experiments.where.tables import SUMMARY, WHERE
from introspection.paper import wording
from introspection.paper.models import ReportedModel
from introspection.paper.render import Renderer, origin
from introspection.settings import Settings

READOUTS: Mapping[str, str] = {"raw": "as it is", "debiased": "less the unsteered"}


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The table of a model, and what its choices say of the places of concepts."""
    paths = [model.path(table.name) for table in (SUMMARY, WHERE)]
    if not renderer.results.expects(*paths):
        return {}
    summary, where = (renderer.results.read(table, model.key) for table in (SUMMARY, WHERE))
    unlikely = 1 - settings.where.confidence
    return {
        "where.table": renderer.render("where", f"where-{model.key}", paths, rows=accuracy_rows(summary), model=model),
        "where.origin": origin(renderer.results.source(paths[0])),
        "where.tokens": _tokens(where),
        "where.concepts": renderer.phrase("where_concepts", rows=concept_rows(summary, unlikely)),
    }


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """How many texts and parts there are, and how sure the intervals are to be."""
    where = renderer.stimuli.where()
    return {
        "where.texts": wording.count(len(where.texts)),
        "where.parts": " or ".join(
            f"a {name} (one of {wording.count(len(task.places))})" for name, task in where.tasks.items()
        ),
        "where.confidence": wording.plain_percent(settings.where.confidence),
        "where.resamples": str(settings.where.resamples),
        "where.permutations": str(settings.where.permutations),
    }


def accuracy_rows(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for each kind of vector, task and readout."""
    rows = []
    for row in summary.to_dict("records"):
        first = row["task"] == summary["task"].iloc[0] and row["readout"] == summary["readout"].iloc[0]
        rows.append(
            {
                "first": first,
                "kind": _kind(row["kind"]),
                "task": row["task"] if row["readout"] == summary["readout"].iloc[0] else "",
                "readout": READOUTS[row["readout"]],
                "trials": str(row["trials"]),
                "chance": wording.share(row["chance"]),
                **{name: wording.share(row[f"accuracy_{name}"]) for name in ("injected", "abstract")},
                **{f"{name}_interval": _interval(row, f"accuracy_{name}") for name in ("injected", "abstract")},
                **{f"{name}_p": f"{row[f'accuracy_{name}_p']:.3f}" for name in ("injected", "abstract")},
                "difference": wording.points(row["difference"]),
                "difference_interval": _interval(row, "difference"),
                "difference_p": "–" if pd.isna(row["difference_p"]) else f"{row['difference_p']:.3f}",
                "mass": wording.percent(row["answer_mass_injected"]),
            }
        )
    return rows


def concept_rows(summary: pd.DataFrame, unlikely: float) -> list[dict[str, str]]:
    """For the prose, the concepts' part in each task and readout, and whether p-values are below `unlikely`."""
    rows = []
    for row in summary[summary["kind"] == "concept"].to_dict("records"):
        rows.append(
            {
                "task": row["task"],
                "readout": row["readout"],
                "chance": wording.share(row["chance"]),
                "injected": wording.share(row["accuracy_injected"]),
                "injected_is": against_chance(row, "injected", unlikely),
                "abstract": wording.share(row["accuracy_abstract"]),
                "abstract_is": against_chance(row, "abstract", unlikely),
                "difference_is": _difference(row, unlikely),
            }
        )
    return rows


def against_chance(row: Mapping[Any, Any], aim: str, unlikely: float) -> str:
    """Where an accuracy lies, in words; on neither side while the places could as well be permuted."""
    if row[f"accuracy_{aim}_p"] >= unlikely:
        return "not to be told from chance"
    return "above chance" if row[f"accuracy_{aim}"] > row["chance"] else "below chance"


def _difference(row: Mapping[Any, Any], unlikely: float) -> str:
    if not row["difference_p"] < unlikely:  # not a number where there is one unit
        return "cannot be told from none"
    return f"is {wording.points(row['difference'])} percentage points"


def _kind(kind: names.Kind) -> str:
    """A kind of vectors in words."""
    return "concepts" if kind == "concept" else names.vector_label(kind)


def _interval(row: Mapping[Any, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if pd.isna(low):
        return "–"
    return f"[{100 * low:.1f}, {100 * high:.1f}]".replace("-", "−")


def _tokens(where: pd.DataFrame) -> str:
    """At how many tokens a vector is added, by task: the least, and the most where texts differ."""
    counts = where.groupby("task", sort=False)["tokens"].agg(["min", "max"])
    return wording.listing(
        [f"{low if low == high else f'{low} to {high}'} ({task})" for task, low, high in counts.itertuples()]
    )
