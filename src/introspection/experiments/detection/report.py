"""Experiments 1, 2, 4 and 7 in the report: the main figure, and what the prose says of every kind of vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from introspection import names
from introspection.experiments.competence.report import competence_note
from introspection.experiments.detection.figure import Cells, detection_figure
from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.suffixes.tables import INTERVALS
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.prompts import Prompts
from introspection.paper.render import Renderer
from introspection.paper.results import Results
from introspection.paper.summaries import Answer, answer
from introspection.rereading import published
from introspection.settings import Settings

# What the prose says under the main prompt: by kind of vector, these of `answer_values`.
SAID: dict[names.Kind, tuple[str, ...]] = {
    "concept": ("goes", "shift", "low", "high"),
    "persona": ("goes.to", "shift"),
    "random": ("shift", "high"),
    "coherent": ("shift", "low", "high"),
    "shared": ("shift", "low", "high"),
    "centred": ("shift", "low", "high"),
    "negated": ("shift", "low", "high"),
    "finetune": ("goes.to", "shift"),
}


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """What the prose says of a model's answers under the main prompt."""
    if not renderer.results.expects(model.path(DETECTION.name)):
        return {}
    return detection_values(renderer.results.read(DETECTION, model.key), renderer.prompts, SAID)


def figures_of_all(gallery: Gallery, settings: Settings) -> None:
    """Detection in every model, below the post's."""
    results = gallery.results
    models = [model for model in reported_models(settings) if results.expects(model.path(DETECTION.name))]
    post, sources = published.as_measured(results)
    cells = [Cells(published.POST, "as printed in the post", post)]
    for model in models:
        cells.append(Cells(model.key, competence_note(results, model), _with_intervals(results, model)))
        sources += [model.path(name) for name in (DETECTION.name, INTERVALS.name) if results.expects(model.path(name))]
    prompts = [
        prompt for prompt in (gallery.look.prompts.main, published.FILLER) if prompt in gallery.look.prompts.names
    ]
    gallery.add("detection", detection_figure(cells, prompts, gallery.look), sources)


def _with_intervals(results: Results, model: ReportedModel) -> pd.DataFrame:
    """A model's detection table, with intervals where vectors of resampled suffixes were asked."""
    detection = results.read(DETECTION, model.key)
    if not results.expects(model.path(INTERVALS.name)):
        return detection
    intervals = results.read(INTERVALS, model.key)[["vector", "prompt", "shift_low", "shift_high"]]
    joined = detection.merge(intervals, on=["vector", "prompt"], how="left", validate="one_to_one")
    ends = {f"injected_{end}": joined["log_odds_yes_base"] + joined[f"shift_{end}"] for end in ("low", "high")}
    return joined.assign(**ends)


def detection_values(
    detection: pd.DataFrame, prompts: Prompts, said: Mapping[names.Kind, Sequence[str]]
) -> dict[str, str]:
    """What the prose says under the main prompt: the means over each kind of vector, these words of each."""
    values: dict[str, str] = {}
    for kind, words in said.items():
        mean = answer(detection, names.of_kind(kind, detection["vector"]), prompts.main)
        if mean is not None:
            values |= {f"detection.{kind}.{word}": answer_values(mean)[word] for word in words}
    return values


def answer_values(mean: Answer) -> dict[str, str]:
    """An answer in words and figures for the prose: `goes` and `goes.to` are what becomes of the probability."""
    moves = wording.direction(mean.shift)
    base, injected = wording.percent(mean.base), wording.percent(mean.injected)
    still = moves == wording.UNCHANGED
    return {
        "goes": f"{moves} ({base} without, {injected} with it)" if still else f"{moves} from {base} to {injected}",
        "goes.to": f"{moves} ({injected})" if still else f"{moves} to {injected}",
        "shift": wording.nats(mean.shift),
        "low": wording.nats(mean.shift_low),
        "high": wording.nats(mean.shift_high),
    }
