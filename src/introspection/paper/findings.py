"""Every test of every model side by side: what the experiments' reports say of each model, a line a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from introspection.paper.latex import Latex
from introspection.paper.models import ReportedModel
from introspection.paper.render import Renderer
from introspection.paper.reports import report_functions
from introspection.settings import Settings

COLUMNS = 3  # models that a table has room for


@dataclass(frozen=True)
class Finding:
    """What a test says of a model.

    test, measured: the test and what it measures, in words; the same for every model. rule: what passes, or would
    be chance. number, interval: of this model, in words. source: the result file. passed: by the rule; None where there
    is none.
    """

    test: str
    measured: str
    rule: str
    number: str
    source: str
    interval: str = ""
    passed: bool | None = None


def render_comparison(renderer: Renderer, settings: Settings, models: Sequence[ReportedModel]) -> dict[str, str]:
    """The table of all tests, COLUMNS models to a table; nothing where no test was run.

    The findings are those of the reports' functions `findings(results, settings, model)`.
    """
    reports = report_functions("findings")
    found = {
        model: sorted(
            (each for findings in reports for each in findings(renderer.results, settings, model)),
            key=lambda each: each.passed is None,  # what a rule judges comes first
        )
        for model in models
    }
    tested = [model for model in models if found[model]]
    if not tested:
        return {}
    parts = [tested[start : start + COLUMNS] for start in range(0, len(tested), COLUMNS)]
    tables = [
        renderer.render(
            "comparison",
            f"comparison-{number}",
            sorted({each.source for model in part for each in found[model]}),
            number=number,
            models=part,
            rows=comparison_rows([found[model] for model in part]),
        )
        for number, part in enumerate(parts, start=1)
    ]
    return {"comparison.tables": Latex(r"}\input{".join(tables))}


def comparison_rows(found: Sequence[Sequence[Finding]]) -> list[dict[str, Any]]:
    """A row per test, in the order in which they come, with each model's finding or None."""
    by_test = [{(each.test, each.measured): each for each in of_model} for of_model in found]
    keys = dict.fromkeys(key for of_model in by_test for key in of_model)
    rows = []
    for key in keys:
        cells = [of_model.get(key) for of_model in by_test]
        first = next(cell for cell in cells if cell)
        rows.append({"test": first.test, "measured": first.measured, "rule": first.rule, "cells": cells})
    return rows
