"""Experiment 3 in the report: the control questions, summed up and one by one."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from introspection.experiments.controls.statistics import ControlStatistics, control_statistics
from introspection.paper import summaries as measures
from introspection.paper import wording as text
from introspection.paper.models import Study
from introspection.paper.render import Renderer, origin
from introspection.rereading import published
from introspection.settings import Settings

STATISTICS = ("p_yes_base", "p_yes_injected", "p_yes_shift", "p_yes_shift_std")
GROUPS = {"expected_no": "no", "expected_yes": "yes"}


def render_controls(renderer: Renderer, settings: Settings, study: Study) -> dict[str, str]:
    """The control tables of a model: means over questions beside the post's, and each question."""
    path = study.path("controls.csv")
    if not renderer.results.expects(path):
        return {}
    controls = renderer.results.result(study.key, "controls.csv")
    statistics, shown = read_statistics(renderer, settings, study)
    rows = summary_rows(statistics.table, published.published_controls(renderer.results))
    shown += [path, "data/published/controls.csv"]
    values: dict[str, str] = {
        "controls.origin": origin(renderer.results.source(path)),
        "controls.table": renderer.render("controls", f"controls-{study.key}", shown, rows=rows, study=study),
        "controls.questions.table": renderer.render(
            "questions",
            f"questions-{study.key}",
            [path],
            rows=question_rows(controls, statistics.excluded),
            study=study,
        ),
        "controls.excluded.count": str(len(statistics.excluded)),
        "controls.excluded": text.listing([f"“{question}”" for question in statistics.excluded]),
    }
    return values | summary_values(statistics.table, list(settings.study.concepts))


def read_statistics(renderer: Renderer, settings: Settings, study: Study) -> tuple[ControlStatistics, list[str]]:
    """The summed-up control questions, and the files they were read from: none where no stage sums them up for us."""
    table, excluded = study.path("control_statistics.csv"), study.path("controls_excluded.json")
    results = renderer.results
    if not (results.expects(table) and results.expects(excluded)):
        controls = results.result(study.key, "controls.csv")
        return control_statistics(controls, settings.controls.exclude_above), []
    read = results.table(table, ("vector", "group"), ("questions", *STATISTICS))
    return ControlStatistics(read, tuple(results.json(excluded)["excluded"])), [table, excluded]


def summary_rows(statistics: pd.DataFrame, post: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per vector and group, random directions as their mean, with the post's figures where it has them."""
    labels = ["random" if str(name).startswith("random_") else str(name) for name in statistics["vector"]]
    rows: list[dict[str, Any]] = []
    for label in dict.fromkeys(labels):
        part = statistics[[found == label for found in labels]]
        for group in dict.fromkeys(part["group"]):
            cell = part[part["group"] == group]
            mean = cell.mean(numeric_only=True)
            theirs = post[(post["vector"] == label) & (group == "expected_no")]
            rows.append(
                {
                    "vector": text.vector_label(label),
                    "first": group == next(iter(part["group"])),
                    "group": GROUPS.get(str(group), str(group)),
                    "questions": str(int(cell["questions"].iloc[0])),
                    "base": text.percent(mean["p_yes_base"]),
                    "injected": text.percent(mean["p_yes_injected"]),
                    "shift": text.points(mean["p_yes_shift"]),
                    "std": spread(mean["p_yes_shift_std"] if len(cell) == 1 else math.nan),
                    **post_cells(theirs),
                }
            )
    return rows


def post_cells(theirs: pd.DataFrame) -> dict[str, str]:
    """The post's figures for a row of the summary, as printed, or dashes."""
    if theirs.empty:
        return dict.fromkeys(("post_base", "post_injected", "post_shift", "post_std"), "–")
    row = theirs.iloc[0]
    return {
        "post_base": published.as_percent(row["p_yes_base_bf16"]),
        "post_injected": published.as_percent(row["p_yes_injected_bf16"]),
        "post_shift": text.points(row["p_yes_shift"]),
        "post_std": spread(row["p_yes_shift_std"]),
    }


def spread(value: float) -> str:
    """A standard deviation in percentage points; a dash where there is none."""
    return "–" if math.isnan(value) else f"{100 * value:.3f}"


def question_rows(controls: pd.DataFrame, excluded: tuple[str, ...]) -> list[dict[str, Any]]:
    """Each question: p(yes) without injection, and the range over everything injected."""
    rows = []
    for question, part in controls.groupby("question", sort=False):
        widest = part.iloc[int((part["p_yes_injected"] - part["p_yes_base"]).abs().to_numpy().argmax())]
        rows.append(
            {
                "question": str(question),
                "group": GROUPS.get(str(part["group"].iloc[0]), str(part["group"].iloc[0])),
                "excluded": question in excluded,
                "base": text.percent(float(part["p_yes_base"].mean())),
                "low": text.percent(float(part["p_yes_injected"].min())),
                "high": text.percent(float(part["p_yes_injected"].max())),
                "widest": text.vector_label(str(widest["vector"])),
            }
        )
    return rows


def summary_values(statistics: pd.DataFrame, concepts: list[str]) -> dict[str, str]:
    """Means over the concepts, the random directions, the persona vector and the finetune, for the prose."""
    values: dict[str, str] = {}
    groups = {"concepts": concepts, "random": measures.random_vectors(statistics)}
    groups |= {name: [name] for name in ("persona", "finetune")}
    for label, vectors in groups.items():
        for group in dict.fromkeys(statistics["group"]):
            cell = statistics[statistics["vector"].isin(vectors) & (statistics["group"] == group)]
            if cell.empty:
                continue
            mean = cell.mean(numeric_only=True)
            name = f"controls.{label}.{group}"
            values[f"{name}.base"] = text.percent(mean["p_yes_base"])
            values[f"{name}.injected"] = text.percent(mean["p_yes_injected"])
            values[f"{name}.shift"] = text.points(mean["p_yes_shift"])
    return values
