"""Experiment 5 in the report: in which layers yes forms, by the logit lens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from introspection import names
from introspection.experiments.lens.figure import lens_figure
from introspection.experiments.lens.tables import LENS
from introspection.injection.dose import QUESTIONS
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.latex import Latex, token
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.prompts import Prompts
from introspection.paper.render import Renderer, origin
from introspection.paper.summaries import means_last, members
from introspection.settings import Settings

VARIANTS = "lens_variants.json"


@dataclass(frozen=True)
class Variants:
    """`lens_variants.json`: the ways to say yes that are summed, and those that are no single token of the model."""

    used: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """How one curve of the lens runs: its highest point with injection, and its end with and without."""

    peak: float
    peak_layer: int
    last: float
    last_base: float


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The table of a model's lens curves, and what the prose says of their means over the concepts."""
    results, prompts = renderer.results, renderer.prompts
    path, variants_path = model.path(LENS.name), model.path(VARIANTS)
    if not results.expects(path):
        return {}
    lens = results.read(LENS, model.key)
    values: dict[str, str] = {}
    sources = [path]
    if results.expects(variants_path):
        variants = results.json(variants_path, Variants)
        sources.append(variants_path)
        values["lens.used"] = Latex(", ".join(map(token, variants.used)))
        if variants.left_out:
            values["lens.left.out"] = Latex(", ".join(map(token, variants.left_out)))
    rows = lens_rows(lens, prompts)
    values["lens.origin"] = origin(results.source(path))
    values["lens.table"] = renderer.render("lens", f"lens-{model.key}", sources, rows=rows, model=model)
    concepts = names.of_kind("concept", lens["vector"])
    if main := curve_of(lens, concepts, prompts.main):
        values |= {f"lens.{name.replace('_', '.')}": value for name, value in curve_texts(main).items()}
    others = {scenario: curve_of(lens, concepts, scenario) for scenario in prompts.others(lens["scenario"])}
    ends = [
        ("weak steering" if scenario == names.WEAK else prompts.after_with(scenario), wording.percent(curve.last))
        for scenario, curve in reversed(others.items())  # the weak injection, which comes last, first
        if curve is not None
    ]
    values["lens.others"] = renderer.phrase("lens_others", ends=ends)
    for kind in ("persona", "finetune"):
        curve = curve_of(lens, names.of_kind(kind, lens["vector"]), prompts.main)
        if curve is not None:
            values[f"lens.{kind}.peak"] = wording.percent(curve.peak)
            values[f"lens.{kind}.peak.layer"] = str(curve.peak_layer)
    return values


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """The scenarios, in words."""
    results, prompts = renderer.results, renderer.prompts
    models = [model for model in reported_models(settings) if results.expects(model.path(LENS.name))]
    if not models:
        return {}
    scenarios = prompts.ordered(scenario for model in models for scenario in results.read(LENS, model.key)["scenario"])
    words = [
        prompts.label(scenario) for scenario in (prompts.main, *prompts.others(scenarios)) if scenario != names.WEAK
    ]
    if names.WEAK in scenarios:
        weak = wording.number(settings.lens.weak_fraction)
        words.append(f"and {prompts.label(prompts.main)} at {weak} of the strength")
    return {"lens.scenarios.count": wording.count(len(scenarios)), "lens.scenarios": ", ".join(words)}


def figures(gallery: Gallery, settings: Settings, model: ReportedModel) -> None:
    """The curves under concepts and under the mean of random directions; and those that come of a finetune."""
    path, dose_path = model.path(LENS.name), model.path(QUESTIONS)
    if not gallery.results.expects(path):
        return
    lens = gallery.results.read(LENS, model.key)
    layers = model.dose(gallery.results).layers
    labels = scenario_labels(lens, gallery.look.prompts)
    random = names.of_kind("random", lens["vector"])
    means = lens[lens["vector"].isin(random)].groupby(["scenario", "layer"], as_index=False, sort=False)
    mean = means[["p_yes_base", "p_yes_injected"]].mean().assign(vector=names.RANDOM)
    lens = pd.concat([lens, mean], ignore_index=True)
    vectors = [*names.of_kind("concept", lens["vector"]), *([names.RANDOM] if random else [])]
    figure = lens_figure(lens, vectors, layers, labels, gallery.look)
    gallery.add(f"lens-{model.key}", figure, [path, dose_path])
    contrast = [*names.of_kind("persona", lens["vector"]), *names.of_kind("finetune", lens["vector"])]
    if contrast:
        figure = lens_figure(lens, contrast, layers, labels, gallery.look)
        gallery.add(f"lens-contrast-{model.key}", figure, [path, dose_path])


def scenario_labels(lens: pd.DataFrame, prompts: Prompts) -> dict[str, str]:
    """The scenarios of the file in order, each in words: a prompt, or a prompt under the weak injection."""
    asked = dict(zip(lens["scenario"], lens["prompt"], strict=True))
    words = {names.WEAK: f"{prompts.label(asked.get(names.WEAK, ''))}, weak"}
    return {scenario: words.get(scenario, prompts.label(scenario)) for scenario in prompts.ordered(asked)}


def lens_rows(lens: pd.DataFrame, prompts: Prompts) -> list[dict[str, Any]]:
    """A row per vector and scenario that the table has, random directions as their mean, in the order of the file."""
    labels = scenario_labels(lens, prompts)
    places = members(lens["vector"])
    rows: list[dict[str, Any]] = []
    for place in means_last(places):
        curves = {scenario: curve_of(lens, places[place], scenario) for scenario in dict.fromkeys(lens["scenario"])}
        measured = {scenario: curve for scenario, curve in curves.items() if curve is not None}
        rows += [
            {
                "vector": names.vector_label(place),
                "first": scenario == next(iter(measured)),
                "last_row": scenario == list(measured)[-1],
                "scenario": labels[scenario],
                **curve_texts(curve),
            }
            for scenario, curve in measured.items()
        ]
    return rows


def curve_of(lens: pd.DataFrame, vectors: list[str], scenario: str) -> Curve | None:
    """The highest point and the end of a curve, the mean over `vectors`; None where the table has no such curve."""
    rows = lens[lens["vector"].isin(vectors) & (lens["scenario"] == scenario)]
    if rows.empty:
        return None
    curve = rows.groupby("layer")[["p_yes_base", "p_yes_injected"]].mean().sort_index()
    highest = int(curve["p_yes_injected"].to_numpy().argmax())
    return Curve(
        peak=float(curve["p_yes_injected"].iloc[highest]),
        peak_layer=int(curve.index[highest]),
        last=float(curve["p_yes_injected"].iloc[-1]),
        last_base=float(curve["p_yes_base"].iloc[-1]),
    )


def curve_texts(curve: Curve) -> dict[str, str]:
    """A lens curve in words and figures."""
    return {
        "peak": wording.percent(curve.peak),
        "peak_layer": str(curve.peak_layer),
        "last": wording.percent(curve.last),
        "last_base": wording.percent(curve.last_base),
        "drop": wording.points(curve.last - curve.peak),
    }
