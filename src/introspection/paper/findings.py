"""Every test of every model side by side: what the experiments' reports say of each model, a line a test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from introspection.experiments.compared.tables import COMPARED
from introspection.paper.latex import Latex, escape
from introspection.paper.models import ReportedModel
from introspection.paper.render import Renderer
from introspection.paper.reports import report_functions
from introspection.paper.results import Results
from introspection.settings import Settings
from introspection.tables import names_of

COLUMNS = 4  # models that a table has room for; they are spread evenly over as many tables as it takes


@dataclass(frozen=True)
class Number:
    """One of the numbers of a finding. name: which of them it is. chance: what a guess gives; all may be missing."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    chance: float = math.nan


@dataclass(frozen=True)
class Finding:
    """What a test says of a model.

    test, measured: the test and what it measures, in words; the same for every model. raised: who has raised it, keys
    of the bibliography. rule: what passes, or would be chance. number, interval: of this model, in words; numbers: as
    such. source: the result file. passed: by the rule; None where there is none.
    """

    test: str
    measured: str
    rule: str
    number: str
    numbers: tuple[Number, ...]
    source: str
    interval: str = ""
    raised: str = ""
    passed: bool | None = None


def findings_of(
    results: Results, settings: Settings, compared: Mapping[str, Sequence[ReportedModel]]
) -> dict[str, list[Finding]]:
    """The findings of each model that was tested, by its name; what a rule judges comes first.

    compared: by name, the model, or where its results lie in several folders, each. The findings are those of the
    reports' functions `findings(results, settings, model)`.
    """
    reports = report_functions("findings")
    found = {
        name: sorted(
            (each for findings in reports for model in models for each in findings(results, settings, model)),
            key=lambda each: each.passed is None,
        )
        for name, models in compared.items()
    }
    return {name: each for name, each in found.items() if each}


def render_comparison(renderer: Renderer, found: Mapping[str, Sequence[Finding]]) -> dict[str, str]:
    """The table of all tests, at most COLUMNS models to a table; nothing where no test was run."""
    tested = list(found)
    if not tested:
        return {}
    width = math.ceil(len(tested) / math.ceil(len(tested) / COLUMNS))
    parts = [tested[start : start + width] for start in range(0, len(tested), width)]
    tables = [
        renderer.render(
            "comparison",
            f"comparison-{number}",
            sorted({each.source for name in part for each in found[name]}),
            number=number,
            names=part,
            rows=comparison_rows([found[name] for name in part]),
        )
        for number, part in enumerate(parts, start=1)
    ]
    values: dict[str, str] = {"comparison.tables": Latex("".join(rf"\input{{{table}}}" for table in tables))}
    if len(tables) > 1:
        values["comparison.last"] = Latex(rf"\ref{{tab:comparison-{len(tables)}}}")
    return values


def comparison_rows(found: Sequence[Sequence[Finding]]) -> list[dict[str, Any]]:
    """A row per test, in the order in which they come, with each model's finding or None."""
    by_test = [{(each.test, each.measured): each for each in of_model} for of_model in found]
    keys = dict.fromkeys(key for of_model in by_test for key in of_model)
    rows = []
    for key in keys:
        cells = [of_model.get(key) for of_model in by_test]
        first = next(cell for cell in cells if cell)
        test = Latex(f"{escape(first.test)} {_cited(first.raised)}") if first.raised else first.test
        rows.append({"test": test, "measured": first.measured, "rule": first.rule, "cells": cells})
    return rows


def _cited(raised: str) -> Latex:
    """Some keys of the bibliography, as LaTeX cites them."""
    return Latex(rf"\citep{{{raised}}}")


def comparison_table(found: Mapping[str, Sequence[Finding]]) -> pd.DataFrame:
    """The rows of `compared.csv`, test by test, in the order in which they come."""
    rows = [
        {
            "test": finding.test,
            "measured": finding.measured,
            "which": number.name,
            "model": name,
            "number": number.value,
            "number_low": number.low,
            "number_high": number.high,
            "chance": number.chance,
            "rule": finding.rule,
            "passed": {True: "yes", False: "no", None: "no rule"}[finding.passed],
            "file": finding.source,
        }
        for name, findings in found.items()
        for finding in findings
        for number in finding.numbers
    ]
    table = pd.DataFrame(rows, columns=names_of(COMPARED.columns))
    order = {key: place for place, key in enumerate(dict.fromkeys(zip(table["test"], table["measured"], strict=True)))}
    places = [order[key] for key in zip(table["test"], table["measured"], strict=True)]
    return table.iloc[np.argsort(places, kind="stable")].reset_index(drop=True)
