"""The dose in the report: what is left of every model at each, and its own strength beside the rule's."""

from __future__ import annotations

from introspection.experiments.dose.figure import Doses, dose_figure
from introspection.experiments.dose.tables import DOSE
from introspection.experiments.places.tables import PLACES
from introspection.injection.dose import CALIBRATION, QUESTIONS, Calibration
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.render import Renderer
from introspection.paper.results import Results
from introspection.settings import Settings

FILES = (DOSE.name, CALIBRATION, PLACES.name)


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """What the prose says of a model's own strength and of the rule's."""
    results = renderer.results
    if not results.expects(model.path(CALIBRATION)):
        return {}
    found = calibration_of(results, model)
    own = f"{fraction_of_norm(results, model, found):.2g}"
    values: dict[str, str] = {"dose.own": own}
    if found.fraction is not None:
        values["dose.borne"] = wording.number(found.fraction)
        if float(own) > found.fraction:
            values["dose.above"] = "yes"
    return values | ({"dose.calibrated": "yes"} if model.settings.strength == "calibrated" else {})


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """The rule for the dose that is calibrated."""
    dose = settings.dose
    return {
        "dose.concepts": wording.listing(list(dose.concepts)),
        "dose.passages": wording.count(len(renderer.stimuli.neutral())),
        "dose.keep.accuracy": wording.plain_percent(dose.keep.control_accuracy),
        "dose.keep.mass": wording.plain_percent(dose.keep.answer_mass),
        "dose.keep.distinct": wording.plain_percent(dose.keep.distinct),
        "dose.kl": wording.number(dose.kl_at_most),
    }


def figures_of_all(gallery: Gallery, settings: Settings) -> None:
    """The doses of every model that has them."""
    results = gallery.results
    models = [model for model in reported_models(settings) if results.expects(*(model.path(name) for name in FILES))]
    if not models:
        return
    doses = []
    for model in models:
        places = results.read(PLACES, model.key)
        own = fraction_of_norm(results, model, calibration_of(results, model))
        doses.append(Doses(model.key, results.read(DOSE, model.key), places[places["own"]], own))
    sources = [model.path(name) for model in models for name in (*FILES, QUESTIONS)]
    gallery.add("dose", dose_figure(doses, gallery.look), sources)


def calibration_of(results: Results, model: ReportedModel) -> Calibration:
    """What the model's strengths were resolved with."""
    return results.json(model.path(CALIBRATION), Calibration)


def fraction_of_norm(results: Results, model: ReportedModel, found: Calibration) -> float:
    """The model's own strength as a fraction of the residual stream's norm over its layers."""
    return model.dose(results).strength / found.norm
