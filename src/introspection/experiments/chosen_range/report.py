"""The range that the sweep chose in the report: what detection and the control questions say when it is injected."""

from __future__ import annotations

from introspection import names
from introspection.experiments.controls.report import no_shifts
from introspection.experiments.controls.tables import CONTROLS
from introspection.experiments.detection.tables import DETECTION
from introspection.paper import wording
from introspection.paper.models import ReportedModel
from introspection.paper.prompts import Prompts
from introspection.paper.render import Renderer
from introspection.paper.results import Results
from introspection.paper.summaries import answer
from introspection.settings import Settings

FOLDER = "chosen_range"


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The shift in a model's chosen range and in its own: of the concept that it was fitted to, and of the others."""
    results, fitted = renderer.results, settings.sweep.choose_concept
    if not results.expects(model.path(f"{FOLDER}/{DETECTION.name}"), model.path(DETECTION.name)):
        return {}
    values: dict[str, str] = {}
    for where, table in (
        ("chosen", results.read(DETECTION, model.key, FOLDER)),
        ("own", results.read(DETECTION, model.key)),
    ):
        concepts = names.of_kind("concept", table["vector"])
        for which, vectors in (("fitted", [fitted]), ("others", [name for name in concepts if name != fitted])):
            if found := answer(table, vectors, renderer.prompts.main):
                values[f"again.{which}.{where}"] = wording.nats(found.shift)
    return values


def claims(results: Results, prompts: Prompts, model: ReportedModel) -> dict[str, str]:
    """What becomes of the control questions and of the persona vector with the chosen range."""
    said: dict[str, str] = {}
    if results.expects(model.path(f"{FOLDER}/{CONTROLS.name}")):
        shifts = no_shifts(results.read(CONTROLS, model.key, FOLDER))
        said["controls, chosen range"] = f"{wording.nats(shifts.mean())} nats" if len(shifts) else ""
    paths = [model.path(DETECTION.name), model.path(f"{FOLDER}/{DETECTION.name}")]
    if results.expects(*paths):
        shifts_of = [
            answer(table, names.of_kind("persona", table["vector"]), prompts.main)
            for table in (results.read(DETECTION, model.key), results.read(DETECTION, model.key, FOLDER))
        ]
        own, chosen = shifts_of
        if own and chosen:
            said["persona, chosen range"] = f"{wording.nats(own.shift)} to {wording.nats(chosen.shift)} nats"
    return {name: text for name, text in said.items() if text}
