"""Experiment 3 in the report: what an injection does to control questions, in probability and in nats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from introspection import names
from introspection.experiments.controls.tables import CONTROLS
from introspection.paper import wording
from introspection.paper.models import ReportedModel
from introspection.paper.render import Renderer
from introspection.settings import Settings

EXCLUDED = "controls_excluded.json"
NO = "expected_no"  # the post's questions


@dataclass(frozen=True)
class Excluded:
    """`controls_excluded.json`: the questions that are left out of the means."""

    excluded: tuple[str, ...]


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """How the questions to be answered no move under the concepts, and whose right answers no question is left."""
    results, path = renderer.results, model.path(CONTROLS.name)
    if not results.expects(path, model.path(EXCLUDED)):
        return {}
    controls = results.read(CONTROLS, model.key)
    excluded = results.json(model.path(EXCLUDED), Excluded).excluded
    groups = {question.group: question.expected for question in renderer.stimuli.controls}
    values: dict[str, str] = {"controls.all.shift": wording.nats(_moved(_of_concepts(controls)).mean())}
    if gone := [answer for group, answer in groups.items() if all_left_out(controls, excluded, group)]:
        values["controls.none.left"] = wording.listing(list(dict.fromkeys(gone)))
    shifts, points = no_shifts(controls, excluded), no_points(controls, excluded)
    if shifts.empty:
        return values
    most = str(points.abs().idxmax())
    return values | {
        "controls.no.shift": wording.nats(shifts.mean()),
        "controls.no.low": wording.nats(shifts.min()),
        "controls.no.high": wording.nats(shifts.max()),
        "controls.no.points": wording.points(points.mean()),
        "controls.no.most": most,
        "controls.no.share": wording.share(points[most] / points.sum()) if points.sum() else "none",
    }


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """Above which probability of yes a question is left out."""
    return {"controls.exclude": wording.plain_percent(settings.controls.exclude_above)}


def all_left_out(controls: pd.DataFrame, excluded: Sequence[str], group: str) -> bool:
    """Whether a group of questions was asked, and not one of it is left."""
    asked = set(controls.loc[controls["group"] == group, "question"])
    return bool(asked) and asked <= set(excluded)


def no_shifts(controls: pd.DataFrame, excluded: Sequence[str] = ()) -> pd.Series[float]:
    """By question to be answered no, the shift of the log-odds of yes in nats, mean over the concepts."""
    rows = _no(controls, excluded)
    return (rows["log_odds_yes_injected"] - rows["log_odds_yes_base"]).groupby(rows["question"]).mean()


def no_points(controls: pd.DataFrame, excluded: Sequence[str]) -> pd.Series[float]:
    """By question to be answered no, the shift of the probability of yes, mean over the concepts."""
    rows = _no(controls, excluded)
    return (rows["p_yes_injected"] - rows["p_yes_base"]).groupby(rows["question"]).mean()


def _no(controls: pd.DataFrame, excluded: Sequence[str]) -> pd.DataFrame:
    rows = _of_concepts(controls)
    return rows[(rows["group"] == NO) & ~rows["question"].isin(excluded)]


def _of_concepts(controls: pd.DataFrame) -> pd.DataFrame:
    return controls[controls["vector"].isin(names.of_kind("concept", controls["vector"]))]


def _moved(rows: pd.DataFrame) -> pd.Series[float]:
    """The shift of logit(yes) - logit(no), in nats: what the battery's is."""
    return rows["logit_difference_injected"] - rows["logit_difference_base"]
