"""The readers in the report: what they tell from the model's states, beside what the model says of the same."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from introspection.experiments.reader.tables import (
    CACHE,
    CENTROID,
    DETECTION,
    DIRECTION,
    FEW,
    LOGISTIC,
    MANY,
    READER,
    RESIDUAL,
    SUMMARY,
    WHICH,
)
from introspection.paper import wording
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.render import Renderer, origin
from introspection.settings import Settings

TASKS = {
    WHICH: "which concept, or none",
    DETECTION: "a concept, or nothing",
    DIRECTION: "a concept, or a random direction",
}
LABELS = {
    RESIDUAL: "residual stream",
    CACHE: "keys and values",
    CENTROID: "nearest centroid",
    LOGISTIC: "logistic regression",
    FEW: "few",
    MANY: "many",
}


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The table of a model, and for each task what the model and the best reader get right."""
    results, paths = renderer.results, [model.path(table.name) for table in (SUMMARY, READER)]
    if not results.expects(*paths):
        return {}
    summary = results.read(SUMMARY, model.key)
    rows = reader_rows(summary)
    values: dict[str, str] = {
        "reader.table": renderer.render("reader", f"reader-{model.key}", paths, rows=rows, model=model),
        "reader.origin": origin(results.source(paths[1])),
        "reader.tasks": renderer.phrase("reader_tasks", rows=task_rows(summary)),
        "reader.rows": str(len(summary)),
    }
    ahead, behind = sides(summary, 1 - settings.reader.confidence)
    return values | {"reader.model.ahead": wording.how_many(ahead), "reader.model.behind": wording.how_many(behind)}


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """What the readers are trained on, and how they are compared."""
    rule = settings.reader
    if not any(renderer.results.expects(model.path(SUMMARY.name)) for model in reported_models(settings)):
        return {}
    return {
        "reader.passages": wording.count(rule.passages),
        "reader.random": wording.count(rule.random_directions),
        "reader.suffixes": wording.count(rule.suffixes),
        "reader.few": wording.count(rule.few),
        "reader.resamples": str(rule.resamples),
        "reader.permutations": str(rule.permutations),
        "reader.confidence": wording.plain_percent(rule.confidence),
        "reader.level": f"{1 - rule.confidence:.2g}",
    }


def sides(summary: pd.DataFrame, level: float) -> tuple[int, int]:
    """In how many rows the model alone is right more often than the reader alone, and less often, beyond chance."""
    told = summary["mcnemar_p"] <= level
    ahead = summary["model_only"] > summary["reader_only"]
    return int((told & ahead).sum()), int((told & ~ahead).sum())


def reader_rows(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for each task, evidence, reader and number of examples; `title` where a task begins, with the model's."""
    rows = []
    for task, part in summary.groupby("task", sort=False):
        for place, row in enumerate(part.to_dict("records")):
            chance = wording.share(row["chance"])
            model = f"{TASKS[str(task)]}: {row['count']} examples, chance {chance}, model {_accuracy(row, 'model')}"
            rows.append(
                {
                    "title": model if place == 0 else "",
                    "reader": f"{LABELS[row['evidence']]}, {LABELS[row['reader']].removesuffix(' regression')}",
                    "examples": LABELS[row["examples"]],
                    "accuracy": _accuracy(row, "reader"),
                    **{name: str(row[name]) for name in ("both", "model_only", "reader_only", "neither")},
                    "mcnemar_p": "<0.001" if row["mcnemar_p"] < 0.001 else f"{row['mcnemar_p']:.3f}",
                }
            )
    return rows


def _accuracy(row: dict[Any, Any], who: str) -> str:
    low, high = (f"{100 * row[f'{who}_{end}']:.1f}" for end in ("low", "high"))
    auc = "" if math.isnan(row[f"{who}_auc"]) else f", AUC {row[f'{who}_auc']:.2f}"
    return f"{wording.share(row[f'{who}_accuracy'])} [{low}, {high}] (p {row[f'{who}_p']:.4f}{auc})"


def task_rows(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """For the prose, each task: the model, and of the readers trained on few examples the best."""
    rows = []
    for task, part in summary.groupby("task", sort=False):
        few = part[part["examples"] == FEW]
        best = few.iloc[int(few["reader_accuracy"].argmax())]
        rows.append(
            {
                "task": TASKS[str(task)],
                "model": wording.share(best["model_accuracy"]),
                "reader": wording.share(best["reader_accuracy"]),
                "name": f"{LABELS[best['reader']]} of the {LABELS[best['evidence']]}",
                "model_only": wording.count(int(best["model_only"])),
                "reader_only": wording.count(int(best["reader_only"])),
            }
        )
    return rows
