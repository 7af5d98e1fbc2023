"""The layer sweep in the report: the chosen range, and the experiments repeated with it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from introspection.experiments.controls.report import summary_rows, summary_values
from introspection.experiments.controls.statistics import control_statistics
from introspection.experiments.detection.report import detection_rows, detection_values
from introspection.experiments.samples.report import reply_rows
from introspection.paper import summaries as measures
from introspection.paper import wording as text
from introspection.paper.models import Study
from introspection.paper.render import Renderer, origin
from introspection.paper.results import Results
from introspection.rereading import published
from introspection.settings import Settings

FOLDER = "chosen_range"


def render_sweep(renderer: Renderer, settings: Settings, study: Study) -> dict[str, str]:
    """The table of a model's chosen range, and of detection, control questions and replies with that range."""
    sweep_path, range_path = study.path("sweep.csv"), study.path("range.json")
    if not (renderer.results.expects(sweep_path) and renderer.results.expects(range_path)):
        return {}
    sweep = renderer.results.result(study.key, "sweep.csv")
    chosen = chosen_range(renderer.results, study)
    rows = range_rows(sweep, study.model.layers, chosen)
    values: dict[str, str] = {
        "sweep.origin": origin(renderer.results.source(sweep_path)),
        "sweep.table": renderer.render("range", f"range-{study.key}", [sweep_path, range_path], rows=rows, study=study),
        "sweep.chosen": text.layers(*chosen),
        "sweep.ranges": str(len(sweep[["first_layer", "last_layer"]].drop_duplicates())),
    }
    found = renderer.results.json(range_path)
    if "rule" in found:
        values["sweep.rule"] = str(found["rule"])
    if found.get("mode") == "coarse_to_fine":
        values["sweep.coarse"] = "yes"
    values |= _again(renderer, settings, study)
    return values


def chosen_range(results: Results, study: Study) -> tuple[int, int]:
    """The range that the sweep's rule chose."""
    found = results.json(study.path("range.json"))
    return int(found["first_layer"]), int(found["last_layer"])


def range_rows(sweep: pd.DataFrame, usual: tuple[int, int], chosen: tuple[int, int]) -> list[dict[str, Any]]:
    """For each vector and prompt of the sweep: p(yes) over the model's own range, the chosen and the best one."""
    rows = []
    for vector, prompt in dict.fromkeys(zip(sweep["vector"], sweep["prompt"], strict=True)):
        best, highest = measures.best_range(sweep, vector, prompt)
        rows.append(
            {
                "vector": text.vector_label(str(vector)),
                "prompt": text.prompt_label(str(prompt)),
                "usual": text.percent(measures.range_value(sweep, vector, prompt, usual)),
                "chosen": text.percent(measures.range_value(sweep, vector, prompt, chosen)),
                "best": text.layers(*best),
                "highest": text.percent(highest),
            }
        )
    return rows


def _again(renderer: Renderer, settings: Settings, study: Study) -> dict[str, str]:
    """The experiments that were repeated with the chosen range."""
    results, values = renderer.results, {}
    name = f"{FOLDER}/detection.csv"
    if results.expects(study.path(name)):
        detection = results.result(study.key, name)
        post = published.published_detection(results)
        rows = detection_rows(detection, post[post["swept"]])
        sources = [study.path(name), "data/published/detection.csv"]
        values["again.table"] = renderer.render("again", f"again-{study.key}", sources, rows=rows, study=study)
        values["again.origin"] = origin(results.source(study.path(name)))
        found = detection_values(detection, settings)
        values |= {f"again.{key}": value for key, value in found.items()}
    name = f"{FOLDER}/controls.csv"
    if results.expects(study.path(name)):
        statistics = control_statistics(results.result(study.key, name), settings.controls.exclude_above)
        rows = summary_rows(statistics.table, published.published_controls(results).iloc[:0])
        values["again.controls.table"] = renderer.render(
            "controls_again", f"controls-again-{study.key}", [study.path(name)], rows=rows, study=study
        )
        values["again.controls.origin"] = origin(results.source(study.path(name)))
        found = summary_values(statistics.table, list(settings.study.concepts))
        values |= {f"again.{key}": value for key, value in found.items()}
    name = f"{FOLDER}/samples.csv"
    if results.expects(study.path(name)):
        replies = reply_rows(results.result(study.key, name))
        values["again.samples.table"] = renderer.render(
            "replies", f"samples-again-{study.key}", [study.path(name)], replies=replies
        )
    return values
