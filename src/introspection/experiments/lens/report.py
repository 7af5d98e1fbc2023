"""Experiment 5 in the report: in which layers yes forms, by the logit lens."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from introspection import names
from introspection.experiments.lens.figure import Curves, lens_figure
from introspection.experiments.lens.tables import LENS
from introspection.injection.dose import QUESTIONS
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.prompts import Prompts
from introspection.paper.render import Renderer
from introspection.paper.results import Results
from introspection.settings import Settings

HALF = 0.5  # of its highest point, from which on a curve is said to have begun
HILL = 10  # times what is left at the end: from there on the prose speaks of a hill without injection


@dataclass(frozen=True)
class Curve:
    """How a curve of the lens runs: with the injection its beginning, its highest point and its end; without it the
    latter two. Layers are counted with the embedding as 0."""

    begins: int
    peak: float
    peak_layer: int
    last: float
    base_peak: float
    base_peak_layer: int
    last_base: float
    layers: int

    @property
    def has_hill(self) -> bool:
        """Whether yes rises and falls again with nothing injected."""
        return self.base_peak >= HILL * self.last_base


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """What the prose says of a model's curves, means over the concepts."""
    if not renderer.results.expects(model.path(LENS.name)):
        return {}
    lens = renderer.results.read(LENS, model.key)
    concepts = names.of_kind("concept", lens["vector"])
    values: dict[str, str] = {}
    if main := curve_of(lens, concepts, renderer.prompts.main):
        values |= {
            "lens.peak": wording.percent(main.peak),
            "lens.peak.layer": str(main.peak_layer),
            "lens.last": wording.percent(main.last),
            "lens.last.base": wording.percent(main.last_base),
        }
        if main.has_hill:
            values |= {
                "lens.hill": wording.percent(main.base_peak),
                "lens.hill.layer": str(main.base_peak_layer),
            }
    if weak := curve_of(lens, concepts, names.WEAK):
        values["lens.weak"] = wording.percent(weak.last)
    return values


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """Which part of the strength the weak injection has."""
    return {"lens.weak.fraction": wording.number(settings.lens.weak_fraction)}


def claims(results: Results, prompts: Prompts, model: ReportedModel) -> dict[str, str]:
    """Where yes begins under the main prompt, where it is highest, and what is left of it at the end."""
    if not results.expects(model.path(LENS.name)):
        return {}
    lens = results.read(LENS, model.key)
    said: dict[str, str] = {}
    if main := curve_of(lens, names.of_kind("concept", lens["vector"]), prompts.main):
        fall = f"{wording.share(main.peak)} at {main.peak_layer}, {wording.share(main.last)} at the end"
        unsteered = f"{wording.share(main.base_peak)} at {main.base_peak_layer}, {wording.share(main.last_base)}"
        said = {
            "lens_yes_begins": f"half of its peak at layer {main.begins} of {main.layers}",
            "lens_suppression": f"{fall} (nothing injected: {unsteered})",
        }
    if persona := curve_of(lens, names.of_kind("persona", lens["vector"]), prompts.main):
        fall = f"{wording.share(persona.peak)} at {persona.peak_layer}, {wording.share(persona.last)} at the end"
        said["lens_suppression, persona and finetune"] = fall
    return said


def figures_of_all(gallery: Gallery, settings: Settings) -> None:
    """The curves of every model under the main prompt."""
    results, main = gallery.results, gallery.look.prompts.main
    models = [model for model in reported_models(settings) if results.expects(model.path(LENS.name))]
    if models:
        tables = [(model, results.read(LENS, model.key)) for model in models]
        curves = [
            Curves(model.key, lens[lens["scenario"] == main], model.dose(results).layers) for model, lens in tables
        ]
        sources = [model.path(name) for model in models for name in (LENS.name, QUESTIONS)]
        gallery.add("lens", lens_figure(curves, gallery.look), sources)


def curve_of(lens: pd.DataFrame, vectors: list[str], scenario: str) -> Curve | None:
    """How a curve runs, the mean over `vectors`; None where the table has no such curve."""
    rows = lens[lens["vector"].isin(vectors) & (lens["scenario"] == scenario)]
    if rows.empty:
        return None
    mean = rows.groupby("layer")[["p_yes_base", "p_yes_injected"]].mean().sort_index()
    base, injected, layers = mean["p_yes_base"], mean["p_yes_injected"], mean.index.astype(int).tolist()
    return Curve(
        begins=layers[int((injected >= HALF * injected.max()).to_numpy().argmax())],
        peak=float(injected.max()),
        peak_layer=layers[int(injected.to_numpy().argmax())],
        last=float(injected.iloc[-1]),
        base_peak=float(base.max()),
        base_peak_layer=layers[int(base.to_numpy().argmax())],
        last_base=float(base.iloc[-1]),
        layers=layers[-1],
    )
