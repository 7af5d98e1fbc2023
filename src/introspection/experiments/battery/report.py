"""The battery in the report: what an injection does to controls and to wordings, over all models."""

from __future__ import annotations

from introspection import names
from introspection.experiments.battery.figure import battery_figure
from introspection.experiments.battery.tables import FIT
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.render import Renderer
from introspection.settings import Settings

WORDS = "words"  # the answers that the prose follows


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """What the concepts do to questions that are answered in words, in nats: means over concepts, and their floor.

    The interval is the median over concepts of its ends.
    """
    if not renderer.results.expects(model.path(FIT.name)):
        return {}
    fit = renderer.results.read(FIT, model.key)
    concepts = fit[fit["vector"].isin(names.of_kind("concept", fit["vector"])) & (fit["answers"] == WORDS)]
    values: dict[str, str] = {
        "battery.right": wording.share(concepts["accuracy_base"].iloc[0]),
        "battery.control": wording.nats(concepts["control_shift"].mean()),
        "battery.signed": wording.nats(concepts["signed_shift"].mean()),
        "battery.signed.low": wording.nats(concepts["signed_low"].median()),
        "battery.signed.high": wording.nats(concepts["signed_high"].median()),
    }
    drawn = fit[fit["vector"].isin(names.of_kind("random", fit["vector"])) & (fit["answers"] == WORDS)]["signed_shift"]
    if len(drawn):
        values |= {"battery.random.low": wording.nats(drawn.min()), "battery.random.high": wording.nats(drawn.max())}
    return values


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """How many questions there are, and how sure intervals are to be."""
    items = renderer.stimuli.battery().items
    wordings = {item.text for item in items if item.polarity}
    return {
        "battery.phrasings": wording.count(len(wordings)),
        "battery.controls": str(len({item.text for item in items} - wordings)),
        "battery.confidence": wording.plain_percent(settings.battery.confidence),
        "battery.resamples": str(settings.battery.resamples),
    }


def figures_of_all(gallery: Gallery, settings: Settings) -> None:
    """Controls against detection in every model."""
    models = [model for model in reported_models(settings) if gallery.results.expects(model.path(FIT.name))]
    if models:
        fits = [(model.key, gallery.results.read(FIT, model.key)) for model in models]
        gallery.add("battery", battery_figure(fits, gallery.look), [model.path(FIT.name) for model in models])
