"""The readers in the report: what they tell from the model's states, beside what the model says of the same."""

from __future__ import annotations

import pandas as pd

from introspection.experiments.reader.tables import DETECTION, DIRECTION, FEW, SUMMARY, WHICH
from introspection.paper import wording
from introspection.paper.findings import Finding, Number
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.render import Renderer
from introspection.paper.results import Results
from introspection.settings import Settings

TASKS = {
    WHICH: "which concept, or none",
    DETECTION: "a concept, or nothing",
    DIRECTION: "a concept, or a random direction",
}


def findings(results: Results, settings: Settings, model: ReportedModel) -> list[Finding]:
    """For each task, what the model gets right and what the best reader does that was trained on few examples."""
    path = model.path(SUMMARY.name)
    if not results.expects(path):
        return []
    return [
        Finding(
            test="Does it know better than a reader?",
            measured=f"right answers, model against reader of few examples: {words}",
            rule=f"chance {wording.share(float(best['chance']))}",
            number=f"{wording.share(best['model_accuracy'])} against {wording.share(best['reader_accuracy'])}",
            interval=_interval(best),
            numbers=tuple(_number(best, who) for who in ("model", "reader")),
            source=path,
        )
        for words, best in best_of_few(results.read(SUMMARY, model.key))
    ]


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The areas under the curve of the model's own yes and of the reader, which no threshold decides."""
    if not renderer.results.expects(model.path(SUMMARY.name)):
        return {}
    best = best_at_detection(renderer.results.read(SUMMARY, model.key))
    if best is None:
        return {}
    return {f"reader.auc.{who}": f"{best[f'{who}_auc']:.2f}" for who in ("model", "reader")}


def best_of_few(summary: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    """Each task in words, with the row of the best reader that was trained on few examples."""
    found = []
    for task, words in TASKS.items():
        rows = summary[(summary["task"] == task) & (summary["examples"] == FEW)]
        if len(rows):
            found.append((words, rows.iloc[int(rows["reader_accuracy"].to_numpy().argmax())]))
    return found


def best_at_detection(summary: pd.DataFrame) -> pd.Series | None:
    """The row of the best such reader of a concept or nothing; None where that was not asked."""
    return dict(best_of_few(summary)).get(TASKS[DETECTION])


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """How the readers are trained and compared, and in how many comparisons they are ahead of the models, or behind."""
    results, rule = renderer.results, settings.reader
    models = [model for model in reported_models(settings) if results.expects(model.path(SUMMARY.name))]
    rows = [row for model in models for _, row in best_of_few(results.read(SUMMARY, model.key))]
    return {
        "reader.few": wording.count(rule.few),
        "reader.resamples": str(rule.resamples),
        "reader.compared": wording.count(len(rows)),
        "reader.ahead": wording.how_many(sum(bool(row["reader_low"] > row["model_high"]) for row in rows)),
        "reader.behind": wording.how_many(sum(bool(row["reader_high"] < row["model_low"]) for row in rows)),
    }


def _interval(row: pd.Series) -> str:
    ends = [[f"{100 * row[f'{who}_{end}']:.0f}" for end in ("low", "high")] for who in ("model", "reader")]
    return " against ".join(f"[{low}, {high}]" for low, high in ends)


def _number(row: pd.Series, who: str) -> Number:
    value, low, high = (float(row[f"{who}_{column}"]) for column in ("accuracy", "low", "high"))
    return Number(who, value, low, high, float(row["chance"]))
