"""The range that the sweep chose in the report: detection, control questions and replies once more, injected there."""

from __future__ import annotations

from introspection.experiments.competence.report import competence_rows, lowest_of
from introspection.experiments.competence.tables import COMPETENCE
from introspection.experiments.controls.report import group_labels, shift_values, summary_rows
from introspection.experiments.controls.statistics import control_statistics
from introspection.experiments.controls.tables import CONTROLS
from introspection.experiments.detection.report import detection_rows, detection_values
from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.samples.report import reply_rows
from introspection.experiments.samples.tables import SAMPLES
from introspection.paper import wording
from introspection.paper.models import ReportedModel
from introspection.paper.render import Renderer, origin
from introspection.rereading import published
from introspection.settings import Settings

FOLDER = "chosen_range"


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The tables of what was run again with a model's chosen range; its values have `again` before their names."""
    values = {
        **_detection(renderer, model),
        **_controls(renderer, settings, model),
        **_competence(renderer, model),
        **_samples(renderer, model),
    }
    return {f"again.{name}": value for name, value in values.items()}


def _detection(renderer: Renderer, model: ReportedModel) -> dict[str, str]:
    results, path = renderer.results, model.path(f"{FOLDER}/{DETECTION.name}")
    if not results.expects(path):
        return {}
    detection = results.read(DETECTION, model.key, FOLDER)
    post = published.post_detection(results)
    rows = detection_rows(detection, post[post["swept"]], renderer.prompts)
    sources = [path, published.DETECTION_PATH]
    return {
        "table": renderer.render("again", f"again-{model.key}", sources, rows=rows, model=model),
        "origin": origin(results.source(path)),
        **detection_values(detection, renderer.prompts, {"concept": ("goes", "shift"), "persona": ("shift",)}),
    }


def _controls(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    results, path = renderer.results, model.path(f"{FOLDER}/{CONTROLS.name}")
    if not results.expects(path):
        return {}
    controls = results.read(CONTROLS, model.key, FOLDER)
    statistics = control_statistics(controls, renderer.stimuli.expected, settings.controls.exclude_above).table
    post = published.post_controls(results).iloc[:0]  # the post has none with its swept layers
    rows = summary_rows(statistics, post, group_labels(renderer.stimuli))
    name = f"controls-again-{model.key}"
    return {
        "controls.table": renderer.render("controls_again", name, [path], rows=rows, model=model),
        "controls.origin": origin(results.source(path)),
        **shift_values(statistics, renderer.stimuli, "concept"),
    }


def _competence(renderer: Renderer, model: ReportedModel) -> dict[str, str]:
    path = model.path(f"{FOLDER}/{COMPETENCE.name}")
    if not renderer.results.expects(path):
        return {}
    rows = competence_rows(renderer.results.read(COMPETENCE, model.key, FOLDER))
    lowest = lowest_of(rows)
    return {
        "competence.table": renderer.render(
            "competence_again", f"competence-again-{model.key}", [path], rows=rows, model=model
        ),
        "competence.origin": origin(renderer.results.source(path)),
        "competence.lowest": wording.share(lowest["lowest"]),
        "competence.lowest.under": lowest["vector"],
    }


def _samples(renderer: Renderer, model: ReportedModel) -> dict[str, str]:
    path = model.path(f"{FOLDER}/{SAMPLES.name}")
    if not renderer.results.expects(path):
        return {}
    replies = reply_rows(renderer.results.read(SAMPLES, model.key, FOLDER))
    return {"samples.table": renderer.render("replies", f"samples-again-{model.key}", [path], replies=replies)}
