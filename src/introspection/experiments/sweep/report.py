"""The layer sweep in the report: every range, and the one that its rule chose."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from introspection import names
from introspection.experiments.sweep.choice import replay_search
from introspection.experiments.sweep.figure import sweep_figure
from introspection.experiments.sweep.tables import SWEEP
from introspection.injection import dose
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.models import ReportedModel
from introspection.paper.prompts import Prompts
from introspection.paper.render import Renderer, origin
from introspection.settings import Settings

CHOSEN = "range.json"
Range = tuple[int, int]


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The table of a model's chosen range, and what the prose says of the sweep."""
    results = renderer.results
    sources = [model.path(SWEEP.name), model.path(CHOSEN)]
    if not results.expects(*sources):
        return {}
    sweep, chosen = results.read(SWEEP, model.key), results.json(model.path(CHOSEN), dose.ChosenRange)
    layers = chosen.first_layer, chosen.last_layer
    rows = range_rows(sweep, model.dose(results).layers, layers, renderer.prompts)
    values: dict[str, str] = {
        "sweep.origin": origin(results.source(model.path(SWEEP.name))),
        "sweep.chosen": wording.layers(*layers),
        "sweep.ranges": str(len(sweep[["first_layer", "last_layer"]].drop_duplicates())),
        "sweep.rule": chosen.rule,
    }
    if results.expects(model.path(dose.SWEEP)):
        sources.append(model.path(dose.SWEEP))
        if results.json(model.path(dose.SWEEP), dose.SweepDose).guide is not None:
            values["sweep.coarse"] = "yes"
    if chosen.mode == "exhaustive":
        rule = settings.sweep
        guide = dose.Guide(rule.choose_concept, rule.choose_prompt, rule.earliest_start)
        values["sweep.replay"] = renderer.phrase("sweep_replay", replay=replay_search(sweep, guide), chosen=layers)
    values["sweep.table"] = renderer.render("range", f"range-{model.key}", sources, rows=rows, model=model)
    return values


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """The rule that chooses a range."""
    rule = settings.sweep
    return {
        "sweep.concept": rule.choose_concept,
        "sweep.prompt": renderer.prompts.label(rule.choose_prompt),
        "sweep.earliest": wording.number(rule.earliest_start),
    }


def figures(gallery: Gallery, settings: Settings, model: ReportedModel) -> None:
    """The heat maps of a model's sweep."""
    results, sources = gallery.results, [model.path(SWEEP.name), model.path(CHOSEN)]
    if not results.expects(*sources):
        return
    chosen, usual = results.json(model.path(CHOSEN), dose.ChosenRange), model.dose(results).layers
    layers = chosen.first_layer, chosen.last_layer
    figure = sweep_figure(results.read(SWEEP, model.key), usual, layers, gallery.look)
    gallery.add(f"sweep-{model.key}", figure, [*sources, model.path(dose.QUESTIONS)])


def range_rows(sweep: pd.DataFrame, usual: Range, chosen: Range, prompts: Prompts) -> list[dict[str, Any]]:
    """For each vector and prompt of the sweep: p(yes) over the model's own range, the chosen and the best one."""
    rows = []
    for (vector, prompt), cell in sweep.groupby(["vector", "prompt"], sort=False):
        best = cell.iloc[int(cell["log_odds_yes"].to_numpy().argmax())]  # the first in the file among equals
        rows.append(
            {
                "vector": names.vector_label(str(vector)),
                "prompt": prompts.label(str(prompt)),
                "usual": wording.percent(value_in(cell, usual)),
                "chosen": wording.percent(value_in(cell, chosen)),
                "best": wording.layers(best["first_layer"], best["last_layer"]),
                "highest": wording.percent(best["p_yes"]),
            }
        )
    return rows


def value_in(cell: pd.DataFrame, layers: Range) -> float:
    """p(yes) over one range; NaN where the sweep does not have it."""
    rows = cell[(cell["first_layer"] == layers[0]) & (cell["last_layer"] == layers[1])]
    return float(rows["p_yes"].iloc[0]) if len(rows) else math.nan
