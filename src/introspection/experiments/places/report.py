"""Dose and place in the report: a figure for each model, and where the study's question moves most."""

from __future__ import annotations

import pandas as pd

from introspection import names
from introspection.experiments.places.figure import places_figure
from introspection.experiments.places.tables import PLACES
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.models import ReportedModel
from introspection.paper.render import Renderer, origin
from introspection.settings import Settings


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """Where and at which dose the concepts move the study's question most, and what else is true there."""
    path = model.path(PLACES.name)
    if not renderer.results.expects(path):
        return {}
    places = renderer.results.read(PLACES, model.key)
    keys = ["first_layer", "last_layer", "fraction"]
    concepts = places[places["vector"].map(names.kind_of) == "concept"].groupby(keys)
    means = concepts[["shift", "residual", "accuracy", "answer_mass"]].mean().reset_index()
    most, signed = (means.nlargest(1, name).iloc[0] for name in ("shift", "residual"))
    return {
        "places.origin": origin(renderer.results.source(path)),
        "places.shift": wording.nats(most["shift"]),
        "places.shift.at": _where(most),
        "places.accuracy": wording.share(most["accuracy"]),
        "places.mass": wording.share(most["answer_mass"]),
        "places.residual": wording.nats(signed["residual"]),
        "places.residual.at": _where(signed),
    }


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """Which concepts, and how much of the battery."""
    rule = settings.places
    return {
        "places.concepts": wording.listing(list(rule.concepts)),
        "places.fractions": wording.count(len(rule.fractions)),
        "places.wordings": wording.count(2 * rule.pairs),
        "places.controls": wording.count(3 * rule.controls),
    }


def figures(gallery: Gallery, settings: Settings, model: ReportedModel) -> None:
    """The heat maps and curves of a model."""
    path = model.path(PLACES.name)
    if gallery.results.expects(path):
        gallery.add(f"places-{model.key}", places_figure(gallery.results.read(PLACES, model.key), gallery.look), [path])


def _where(row: pd.Series) -> str:
    blocks = wording.layers(int(row["first_layer"]), int(row["last_layer"]))
    return f"blocks {blocks} at {row['fraction']:.2g} of the norm"
