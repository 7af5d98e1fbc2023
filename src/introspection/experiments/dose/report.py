"""The dose in the report: what each model bears, where its strength lies, and how large its residual stream is."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from introspection.experiments.dose.figure import dose_figure
from introspection.experiments.dose.rule import MEASURES, kind_means
from introspection.experiments.dose.tables import DOSE, NORMS
from introspection.injection.dose import CALIBRATION, QUESTIONS, Calibration
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.models import ReportedModel
from introspection.paper.render import Renderer, origin
from introspection.paper.results import Results
from introspection.settings import OfNorm, Settings

FILES = (DOSE.name, NORMS.name, CALIBRATION)


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The table of a model's doses, and what the prose says of its own strength and of the rule's."""
    results, sources = renderer.results, [model.path(name) for name in FILES]
    if not results.expects(*sources):
        return {}
    dose, found = results.read(DOSE, model.key), calibration_of(results, model)
    rows = dose_rows(dose, found.fraction)
    norms = results.read(NORMS, model.key)
    values: dict[str, str] = {
        "dose.origin": origin(results.source(sources[0])),
        "dose.norm": f"{found.norm:.3g}",
        "dose.norm.first": f"{norms['mean_norm'].iloc[1]:.3g}",
        "dose.norm.last": f"{norms['mean_norm'].iloc[-1]:.3g}",
        "dose.own": f"{fraction_of_norm(results, model, found):.2g}",
        "dose.table": renderer.render("dose", f"dose-{model.key}", sources, rows=rows, model=model),
    }
    if found.fraction is not None:
        values["dose.borne"] = wording.number(found.fraction)
    if found.broken is not None:
        values["dose.broken"] = found.broken
    if isinstance(model.settings.strength, OfNorm):
        values["dose.of.norm"] = "yes"
    elif model.settings.strength == "calibrated":
        values["dose.calibrated"] = "yes"
    return values


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """On what doses are tried, and the rule for the one that is calibrated."""
    dose = settings.dose
    questions = [] if dose.questions is None else [("dose.questions", wording.count(dose.questions))]
    return {
        "dose.concepts": wording.listing(list(dose.concepts)),
        "dose.random": wording.count(dose.random_directions),
        "dose.passages": wording.count(len(renderer.stimuli.neutral())),
        "dose.keep.accuracy": wording.plain_percent(dose.keep.control_accuracy),
        "dose.keep.mass": wording.plain_percent(dose.keep.answer_mass),
        "dose.keep.distinct": wording.plain_percent(dose.keep.distinct),
        "dose.kl": wording.number(dose.kl_at_most),
        **dict(questions),
    }


def figures(gallery: Gallery, settings: Settings, model: ReportedModel) -> None:
    """What is left of a model at each dose."""
    results, sources = gallery.results, [model.path(name) for name in (*FILES, QUESTIONS)]
    if not results.expects(*sources):
        return
    fraction = fraction_of_norm(results, model, calibration_of(results, model))
    layers = model.dose(results).layers
    figure = dose_figure(results.read(DOSE, model.key), results.read(NORMS, model.key), fraction, layers, gallery.look)
    gallery.add(f"dose-{model.key}", figure, sources)


def calibration_of(results: Results, model: ReportedModel) -> Calibration:
    """What the model's strengths were resolved with."""
    return results.json(model.path(CALIBRATION), Calibration)


def fraction_of_norm(results: Results, model: ReportedModel, found: Calibration) -> float:
    """The model's own strength as a fraction of the residual stream's norm over its layers."""
    return model.dose(results).strength / found.norm


def dose_rows(dose: pd.DataFrame, borne: float | None) -> list[dict[str, Any]]:
    """A row for each fraction: the concepts' means beside the random directions'; `borne` is marked."""
    concept, random = (kind_means(dose, kind) for kind in ("concept", "random"))
    return [
        {
            "fraction": wording.number(fraction),
            "strength": wording.number(concept["strength"][fraction]),
            "borne": fraction == borne,
            **{name: (_cell(concept, fraction, name), _cell(random, fraction, name)) for name in MEASURES},
        }
        for fraction in map(float, concept.index)
    ]


def _cell(means: pd.DataFrame, fraction: float, name: str) -> str:
    """Two decimals; a dash where nothing was measured."""
    value = float(means[name].get(fraction, math.nan))
    return "–" if math.isnan(value) else f"{value:.2f}"
