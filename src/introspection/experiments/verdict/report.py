"""The verdict in the report: every objection, its test, the number, and the class of each model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from introspection import names
from introspection.experiments.verdict.objections import (
    OBJECTIONS,
    REGISTERED,
    RegisteredRule,
    load_objections,
)
from introspection.experiments.verdict.tables import VERDICT
from introspection.paper import wording
from introspection.paper.findings import Finding, Number
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.render import Renderer
from introspection.paper.results import Results
from introspection.settings import Settings, VerdictSettings

CLASS = "verdict.json"


@dataclass(frozen=True)
class Class:
    """What `verdict.json` says: the class of a model, the tests that it fails, and by which rule."""

    verdict: str
    failed: tuple[str, ...]
    rule: str
    rule_as_registered: bool


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The class of a model."""
    path = model.path(CLASS)
    return {"verdict": renderer.results.json(path, Class).verdict} if renderer.results.expects(path) else {}


def findings(results: Results, settings: Settings, model: ReportedModel) -> list[Finding]:
    """A model's number for every objection, in the order in which the rule asks them."""
    path = model.path(VERDICT.name)
    if not results.expects(path):
        return []
    objections = load_objections(results.root / OBJECTIONS)
    found = []
    for row in results.read(VERDICT, model.key).sort_values("order").to_dict("records"):
        low, high = float(row["low"]), float(row["high"])
        objection = objections.tests[str(row["test"])]
        found.append(
            Finding(
                test=objection.objection,
                raised="" if objection.raised == "ours" else objection.raised,
                measured=MEASURED.get(str(row["test"]), str(row["measured"])),
                rule=_rule(row, settings.verdict),
                number=_number(float(row["number"])),
                numbers=(Number("", float(row["number"]), low, high),),
                interval="" if math.isnan(low) else f"[{_number(low)}, {_number(high)}]",
                source=path,
                passed=bool(row["passed"]),
            )
        )
    return found


def _rule(row: Mapping[Any, Any], rule: VerdictSettings) -> str:
    """What a test asks for; of directions, against which kinds."""
    if row["test"] != "disturbance":
        return str(row["rule"])
    kinds = "; ".join(names.vector_label(kind) for kind in rule.disturbances)
    return f"lower end at least {rule.auc_at_least:g} against each of: {kinds}"


MEASURED = {"disturbance": "AUC of concepts against the kind of direction least told from them"}
"""What tests measure that have other words for each model."""


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """When the rule was fixed, and whether it is the one that was."""
    results = renderer.results
    judged = [model for model in reported_models(settings) if results.expects(model.path(CLASS))]
    if not judged:
        return {}
    registered = results.json(REGISTERED.as_posix(), RegisteredRule)
    classes = [results.json(model.path(CLASS), Class) for model in judged]
    values: dict[str, str] = {
        "verdict.rule": registered.sha256[:8],
        "verdict.date": registered.date,
        "verdict.seen": wording.listing(list(registered.seen_before)),
        "verdict.passes": load_objections(results.root / OBJECTIONS).passes_as,
    }
    changed = [model.key for model, found in zip(judged, classes, strict=True) if not found.rule_as_registered]
    return values | ({"verdict.changed": wording.listing(changed)} if changed else {})


def _number(value: float) -> str:
    """Three digits; what is next to nothing is bounded, and a dash is what there is not."""
    if math.isnan(value):
        return "–"
    return "<0.001" if 0 < abs(value) < 0.001 else f"{value:.3g}".replace("-", "−")
