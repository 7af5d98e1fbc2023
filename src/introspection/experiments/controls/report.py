"""Experiment 3 in the report: the control questions, summed up and one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from introspection import names
from introspection.experiments.controls.statistics import ControlStatistics, control_statistics
from introspection.experiments.controls.tables import CONTROLS, STATISTICS
from introspection.paper import wording
from introspection.paper.models import ReportedModel
from introspection.paper.render import Renderer, origin
from introspection.paper.summaries import members
from introspection.rereading import published
from introspection.settings import Settings
from introspection.stimuli.prompts import Stimuli

EXCLUDED = "controls_excluded.json"


@dataclass(frozen=True)
class Excluded:
    """`controls_excluded.json`: the questions that are left out of the means."""

    excluded: tuple[str, ...]


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The control tables of a model: means over questions beside the post's, and each question."""
    results, path = renderer.results, model.path(CONTROLS.name)
    if not results.expects(path):
        return {}
    controls = results.read(CONTROLS, model.key)
    statistics, sources = read_statistics(renderer, settings, model, controls)
    answers = group_labels(renderer.stimuli)
    rows = summary_rows(statistics.table, published.post_controls(results), answers)
    sources += [path, published.CONTROLS_PATH]
    asked = question_rows(controls, statistics.excluded, answers)
    values: dict[str, str] = {
        "controls.origin": origin(results.source(path)),
        "controls.table": renderer.render("controls", f"controls-{model.key}", sources, rows=rows, model=model),
        "controls.questions.table": renderer.render(
            "questions", f"questions-{model.key}", [path], rows=asked, model=model
        ),
        "controls.excluded.count": str(len(statistics.excluded)),
        "controls.excluded.of": str(controls["question"].nunique()),
        "controls.excluded": wording.listing([f"“{question}”" for question in statistics.excluded]),
    }
    if gone := [label for group, label in answers.items() if all_left_out(controls, statistics.excluded, group)]:
        values["controls.none.left"] = wording.listing(gone)
    groups = [(answer, mean_of(statistics.table, "concept", group)) for group, answer in answers.items()]
    means = [{"answer": answer, **mean} for answer, mean in groups if mean]
    values["controls.concepts"] = renderer.phrase("controls_means", means=means)
    return values | shift_values(statistics.table, renderer.stimuli, "persona", "finetune")


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """Above which probability of yes a question is left out."""
    return {"controls.exclude": wording.plain_percent(settings.controls.exclude_above)}


def read_statistics(
    renderer: Renderer, settings: Settings, model: ReportedModel, controls: pd.DataFrame
) -> tuple[ControlStatistics, list[str]]:
    """The summed-up control questions, and the files they were read from: none where no stage sums them up for us."""
    results, paths = renderer.results, [model.path(STATISTICS.name), model.path(EXCLUDED)]
    if not results.expects(*paths):
        return control_statistics(controls, renderer.stimuli.expected, settings.controls.exclude_above), []
    excluded = results.json(paths[1], Excluded).excluded
    return ControlStatistics(results.read(STATISTICS, model.key), excluded), paths


def group_labels(stimuli: Stimuli) -> dict[str, str]:
    """By group of questions, their right answer, and the group's name where others have that answer too."""
    answers = {question.group: question.expected for question in stimuli.controls}
    shared = {answer for answer in answers.values() if list(answers.values()).count(answer) > 1}
    return {
        group: f"{answer} ({group.replace('_', ' ')})" if answer in shared else answer
        for group, answer in answers.items()
    }


def all_left_out(controls: pd.DataFrame, excluded: Sequence[str], group: str) -> bool:
    """Whether a group of questions was asked, and not one of it is left."""
    asked = set(controls.loc[controls["group"] == group, "question"])
    return bool(asked) and asked <= set(excluded)


def summary_rows(statistics: pd.DataFrame, post: pd.DataFrame, answers: dict[str, str]) -> list[dict[str, Any]]:
    """A row per vector and group, directions of a kind as their mean, with the post's figures where it has them."""
    rows: list[dict[str, Any]] = []
    for place, vectors in members(statistics["vector"]).items():
        part = statistics[statistics["vector"].isin(vectors)]
        groups = list(dict.fromkeys(part["group"]))
        for group in groups:
            cell = part[part["group"] == group]
            mean = cell.select_dtypes("float").mean()
            printed = post[(post["vector"] == place) & (post["group"] == group)]
            rows.append(
                {
                    "vector": names.vector_label(place),
                    "first": group == groups[0],
                    "group": answers.get(group, group),
                    "questions": str(cell["questions"].iloc[0]),
                    "base": wording.percent(mean["p_yes_base"]),
                    "injected": wording.percent(mean["p_yes_injected"]),
                    "shift": wording.points(mean["p_yes_shift"]),
                    "std": spread(mean["p_yes_shift_std"] if len(cell) == 1 else math.nan),
                    **post_cells(printed),
                }
            )
    return rows


def post_cells(printed: pd.DataFrame) -> dict[str, str]:
    """The post's figures for a row of the summary, as printed, or dashes."""
    shift, std = (
        float(printed[name].iloc[0]) if len(printed) else math.nan for name in ("p_yes_shift", "p_yes_shift_std")
    )
    return {
        "post_base": published.cell(printed, "p_yes_base_bf16"),
        "post_injected": published.cell(printed, "p_yes_injected_bf16"),
        "post_shift": wording.points(shift),
        "post_std": spread(std),
    }


def spread(value: float) -> str:
    """A standard deviation in percentage points; a dash where there is none."""
    return "–" if math.isnan(value) else f"{100 * value:.3f}"


def question_rows(controls: pd.DataFrame, excluded: tuple[str, ...], answers: dict[str, str]) -> list[dict[str, Any]]:
    """Each question: p(yes) without injection, and the range over everything injected."""
    rows = []
    for question, part in controls.groupby("question", sort=False):
        widest = part.iloc[int((part["p_yes_injected"] - part["p_yes_base"]).abs().to_numpy().argmax())]
        rows.append(
            {
                "question": str(question),
                "group": answers.get(widest["group"], widest["group"]),
                "excluded": question in excluded,
                "base": wording.percent(float(part["p_yes_base"].mean())),
                "low": wording.percent(float(part["p_yes_injected"].min())),
                "high": wording.percent(float(part["p_yes_injected"].max())),
                "widest": names.vector_label(str(widest["vector"])),
            }
        )
    return rows


def mean_of(statistics: pd.DataFrame, kind: names.Kind, group: str) -> dict[str, str]:
    """The mean of a group of questions over all vectors of a kind; empty where there is none."""
    vectors = names.of_kind(kind, statistics["vector"])
    cell = statistics[statistics["vector"].isin(vectors) & (statistics["group"] == group)]
    if cell.empty:
        return {}
    return {
        "base": wording.percent(cell["p_yes_base"].mean()),
        "injected": wording.percent(cell["p_yes_injected"].mean()),
        "shift": wording.points(cell["p_yes_shift"].mean()),
    }


def shift_values(statistics: pd.DataFrame, stimuli: Stimuli, *kinds: names.Kind) -> dict[str, str]:
    """For the prose, how the questions to be answered no move on average under each of these kinds."""
    groups = {question.group for question in stimuli.controls if question.expected == "no"}
    values: dict[str, str] = {}
    for kind in kinds:
        vectors = names.of_kind(kind, statistics["vector"])
        cells = statistics[statistics["vector"].isin(vectors) & statistics["group"].isin(groups)]
        if len(cells):
            total = (cells["p_yes_shift"] * cells["questions"]).sum()
            values[f"controls.{kind}.shift"] = wording.points(float(total / cells["questions"].sum()))
    return values
