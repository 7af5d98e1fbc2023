"""The post's figures read again in the report: shifts in nats, what its prompts do, and its claims one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from introspection import names
from introspection.paper import wording
from introspection.paper.latex import Latex
from introspection.paper.models import ReportedModel
from introspection.paper.render import Renderer
from introspection.paper.reports import report_functions
from introspection.rereading import tables
from introspection.rereading.analysis import SPACING, verdict_of_quote
from introspection.rereading.published import (
    FILLER,
    REREAD,
    SHIFTS_PATH,
    STATEMENTS_PATH,
    as_percent,
    layers,
    swept_layers,
)

SUMMARY_PATH = f"results/{REREAD}/{tables.SUMMARY.name}"
COMPARISONS_PATH = f"results/{REREAD}/{tables.COMPARISONS.name}"
# The quantities of the summary that the prose says.
SAID = (
    *("softmaxes", "grid_spacing", "grid_fits", "grid_expected_by_chance", "comparisons", "quotes"),
    *(f"quotes_holds_in_{scale}" for scale in ("probability", "log_odds")),
)
SETTINGS = ("injected_layers", "weak_strength", "sweep_ranges", "chosen_range")
"""Statements of the post that say how it was run and claim nothing."""

Row = Mapping[Any, Any]


def render_rereading(renderer: Renderer, models: list[ReportedModel]) -> dict[str, str]:
    """The post's cells in log-odds, its claims beside what became of them, and what the prose says of both."""
    results = renderer.results
    if not results.expects(SHIFTS_PATH):
        return {}
    shifts, comparisons = (results.read(table, REREAD) for table in (tables.SHIFTS, tables.COMPARISONS))
    summary = results.read(tables.SUMMARY, REREAD).set_index("quantity")["value"]
    disagreements = results.read(tables.DISAGREEMENTS, REREAD)
    values: dict[str, str] = {f"post.{quantity}": plain(summary[quantity]) for quantity in SAID}
    reversed_too = summary["quotes_reversed_in_log_odds"]
    if reversed_too:
        values["post.quotes_reversed"] = wording.count(int(reversed_too))
    rows = [_shift_cells(renderer, row) for row in shifts.to_dict("records")]
    usual = shifts[shifts["first_layer"] != swept_layers(results)[0]]
    return (
        values
        | _effect_values(results.read(tables.PROMPT_EFFECTS, REREAD), renderer)
        | {
            "post.shifts.rows": renderer.render("rows", "post-shifts", [SHIFTS_PATH], rows=rows),
            "post.claims.table": _claims(renderer, comparisons, models),
            "post.shift.least": wording.nats(usual["log_odds_shift"].min()),
            "post.shift.most": wording.nats(usual["log_odds_shift"].max()),
            "post.rounding.shift": wording.number(2 * SPACING),
            "post.rounding.difference": wording.number(4 * SPACING),
            "post.disagreements.count": str(len(disagreements)),
            "post.unequal.count": str(int((~disagreements["agrees"]).sum())),
        }
    )


def _claims(renderer: Renderer, comparisons: pd.DataFrame, models: list[ReportedModel]) -> str:
    """The table of what the post says: quotes that its printed cells decide, and others beside what our models show."""
    results = renderer.results
    quotes = [
        {
            "source": part["source"].iloc[0],
            "quote": quote,
            "cells": f"{wording.count(len(part))} cell{'s' * (len(part) != 1)}",
            **{scale: quote_verdict(part[f"in_{scale}"]) for scale in ("probability", "log_odds")},
        }
        for quote, part in comparisons.groupby("quote", sort=False)
    ]
    said: dict[ReportedModel, dict[str, str]] = {
        model: {
            quantity: text
            for claims in report_functions("claims")
            for quantity, text in claims(results, renderer.prompts, model).items()
        }
        for model in models
    }
    statements = results.table(tables.POST_STATEMENTS, STATEMENTS_PATH)
    others = [
        {
            "source": row["source"],
            "quote": row["quote"],
            "ours": [(model.key, said[model][row["quantity"]]) for model in models if row["quantity"] in said[model]],
        }
        for row in statements.to_dict("records")
        if row["quantity"] not in SETTINGS and not str(row["quantity"]).startswith("p_yes")
    ]
    sources = [COMPARISONS_PATH, STATEMENTS_PATH]
    return renderer.render("claims", "post-claims", sources, quotes=quotes, statements=others)


def quote_verdict(verdicts: pd.Series[str]) -> str:
    """What became of a quote, in words: `holds`, or in how many of its cells it does and does not."""
    whole = verdict_of_quote(verdicts)
    if whole == "holds":
        return whole
    plural = {"holds": "hold"}
    counts = [
        f"{int((verdicts == verdict).sum())} {plural.get(verdict, verdict)}"
        for verdict in dict.fromkeys(sorted(verdicts))
    ]
    return ", ".join(counts) if len(counts) > 1 else whole


def _effect_values(effects: pd.DataFrame, renderer: Renderer) -> dict[str, str]:
    """The info prompt against each other, for the vector that has the filler: of baseline and shift."""
    (vector,) = effects.loc[effects["against"] == FILLER, "vector"].unique()
    swept = swept_layers(renderer.results)
    rows = [
        {
            "against": renderer.prompts.label(row["against"]),
            **{name: span(row, name) for name in ("injected", "baseline", "shift")},
        }
        for row in effects[effects["vector"] == vector].to_dict("records")
        if (row["first_layer"], row["last_layer"]) != swept
    ]
    return {"post.effects": renderer.phrase("effects", rows=rows), "post.effects.vector": vector}


def _shift_cells(renderer: Renderer, row: Mapping[Any, Any]) -> list[str]:
    """A row of the table of shifts."""
    return [
        names.vector_label(row["vector"]),
        renderer.prompts.label(row["prompt"]),
        layers(row),
        as_percent(row["p_yes_base_bf16"]),
        as_percent(row["p_yes_injected_bf16"]),
        wording.nats(row["log_odds_shift"]),
        span(row, "log_odds_shift"),
    ]


def plain(value: float) -> str:
    """A count as it is, a small chance as a power of ten, anything else with three significant digits."""
    if value == int(value):
        return str(int(value))
    if abs(value) >= 0.001:
        return f"{value:.3g}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return Latex(rf"${mantissa}\times10^{{{int(exponent)}}}$")


def span(row: Row, name: str, decimals: int = 2) -> str:
    """An interval in nats, rounded outwards so that it still holds all that it held; a dash where it is open."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if pd.isna(low) or pd.isna(high):
        return "–"
    unit = 10**decimals
    return f"{math.floor(low * unit) / unit:.{decimals}f} to {math.ceil(high * unit) / unit:.{decimals}f}".replace(
        "-", "−"
    )
