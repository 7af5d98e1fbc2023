"""The critic's page in the report: every objection, its test, the number, and the verdict on each model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from introspection.experiments.verdict.objections import (
    OBJECTIONS,
    REGISTERED,
    Objections,
    RegisteredRule,
    load_objections,
)
from introspection.experiments.verdict.tables import VERDICT
from introspection.paper import wording
from introspection.paper.latex import Latex
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.render import Renderer, origin
from introspection.settings import Settings

CLASS = "verdict.json"


@dataclass(frozen=True)
class Class:
    """What `verdict.json` says: the class of a model, the tests that it fails, and by which rule."""

    verdict: str
    failed: tuple[str, ...]
    rule: str
    rule_as_registered: bool


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The page of a model, and its class."""
    paths = [model.path(VERDICT.name), model.path(CLASS)]
    if not renderer.results.expects(*paths):
        return {}
    objections = load_objections(renderer.results.root / OBJECTIONS)
    found = renderer.results.json(paths[1], Class)
    rows = objection_rows(renderer.results.read(VERDICT, model.key), objections)
    return {
        "verdict.table": renderer.render("critic", f"critic-{model.key}", paths, rows=rows, model=model),
        "verdict.origin": origin(renderer.results.source(paths[0])),
        "verdict": found.verdict,
        "verdict.failed": str(len(found.failed)),
        "verdict.tests": str(len(rows)),
    }


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """The table of objections, when the rule was fixed, and whether it is the one that was."""
    results = renderer.results
    judged = [model for model in reported_models(settings) if results.expects(model.path(CLASS))]
    if not judged:
        return {}
    registered = results.json(REGISTERED.as_posix(), RegisteredRule)
    classes = [results.json(model.path(CLASS), Class) for model in judged]
    objections = load_objections(results.root / OBJECTIONS)
    rows = [
        {**each.model_dump(), "raised": cited(each.raised)}
        for each in map(objections.tests.get, settings.verdict.order)
        if each
    ]
    values: dict[str, str] = {
        "verdict.objections": renderer.render("objections", "objections", [REGISTERED.as_posix()], rows=rows),
        "verdict.rule": registered.sha256[:8],
        "verdict.date": registered.date,
        "verdict.seen": wording.listing(list(registered.seen_before)),
        "verdict.passes": objections.passes_as,
        "verdict.confidence": wording.plain_percent(settings.verdict.confidence),
    }
    changed = [model.key for model, found in zip(judged, classes, strict=True) if not found.rule_as_registered]
    return values | ({"verdict.changed": wording.listing(changed)} if changed else {})


def objection_rows(verdict: pd.DataFrame, objections: Objections) -> list[dict[str, Any]]:
    """A row per test in the order in which they are asked."""
    rows = []
    for row in verdict.sort_values("order").to_dict("records"):
        low, high = (float(row[end]) for end in ("low", "high"))
        rows.append(
            {
                "objection": objections.tests[str(row["test"])].objection,
                "measured": row["measured"],
                "number": _number(float(row["number"])),
                "interval": "–" if math.isnan(low) else f"{_number(low)} to {_number(high)}",
                "resampled": row["resampled"],
                "rule": row["rule"],
                "passed": bool(row["passed"]),
            }
        )
    return rows


def cited(raised: str) -> Latex:
    """Who has raised an objection, as LaTeX cites them."""
    return Latex("ours") if raised == "ours" else Latex(rf"\citet{{{raised}}}")


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}".replace("-", "−")
