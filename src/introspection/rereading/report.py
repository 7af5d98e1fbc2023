"""The post's figures read again in the report: shifts in nats, the test of the grid, comparisons, disagreements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from introspection.paper import wording as text
from introspection.paper.latex import Latex
from introspection.paper.render import Renderer, origin
from introspection.rereading import published

FOLDER = "results/published"
SUMMARY = f"{FOLDER}/summary.csv"
KEY = ("strength", "first_layer", "last_layer")
QUANTITIES = {"shift": "shift", "injected": "under injection", "lift": "lift by the info"}


def render_rereading(renderer: Renderer) -> dict[str, str]:
    """The rows of every table of the section, and the counts and extremes that its prose says."""
    results = renderer.results
    if not results.expects(f"{FOLDER}/shifts.csv"):
        return {}
    swept = published.swept_layers(results)
    values: dict[str, str] = {"post.origin": origin(results.source(f"{FOLDER}/shifts.csv"))}
    makers = {
        "shifts": _shift_row,
        "grid": _grid_row,
        "spacings": _spacing_row,
        "significands": _significand_row,
        "differences": _difference_row,
        "controls": _control_row,
        "comparisons": _comparison_row,
        "reversals": _reversal_row,
        "prompt_effects": _effect_row,
        "disagreements": _disagreement_row,
    }
    for name, maker in makers.items():
        path = f"{FOLDER}/{name}.csv"
        rows = [maker(row, swept) for row in records(results.table(path))]
        values[f"post.{name}.rows"] = renderer.render("rows", f"post-{name.replace('_', '-')}", [path], rows=rows)
        values[f"post.{name}.count"] = str(len(rows))
    return values | summary_values(renderer) | finding_values(renderer, swept)


def summary_values(renderer: Renderer) -> dict[str, str]:
    """The counts and extremes of `summary.csv`, by their names there."""
    table = renderer.results.table(SUMMARY, ("quantity",), ("value",))
    return {f"post.{row['quantity']}": plain(float(row["value"])) for row in records(table)}


def finding_values(renderer: Renderer, swept: tuple[int, int]) -> dict[str, str]:
    """What the prose says of single rows: how the info prompt acts against lorem ipsum, and which verdicts change."""
    effects = [
        row
        for row in records(renderer.results.table(f"{FOLDER}/prompt_effects.csv"))
        if row["against"] == "lorem_ipsum"
    ]
    values: dict[str, str] = {}
    for row in effects:
        change = (float(row["shift_low"]), float(row["shift_high"]))
        values["post.lorem.vector"] = row["vector"]
        values |= {f"post.lorem.{name}": _span(row, name) for name in ("injected", "baseline", "shift")}
        values["post.lorem.verdict"] = (
            "smaller than" if change[1] < 0 else "larger than" if change[0] > 0 else "not told apart from"
        )
    shifts = records(renderer.results.table(f"{FOLDER}/shifts.csv"))
    for row in shifts:
        if any(row["vector"] == effect["vector"] and not _is_swept(row, swept) for effect in effects):
            values[f"post.shift.{row['prompt']}"] = _span(row, "log_odds_shift")
            values[f"post.printed.{row['prompt']}"] = published.as_percent(row["p_yes_injected_bf16"])
    comparisons = records(renderer.results.table(f"{FOLDER}/comparisons.csv"))
    changed = [row for row in comparisons if row["changes"] == "True"]
    values["post.changed"] = text.listing([_claim(row, swept) for row in changed])
    disagreements = records(renderer.results.table(f"{FOLDER}/disagreements.csv"))
    unequal = [row for row in disagreements if row["agrees"] == "False"]
    values["post.unequal.count"] = str(len(unequal))
    values["post.unequal.steps"] = text.listing(sorted({str(abs(int(row["steps"]))) for row in unequal}))
    values["post.unequal"] = text.listing(
        [
            f"{text.prompt_label(row['prompt'])}: {published.as_percent(row['printed'])} and "
            f"{published.as_percent(row['other_printed'])}, {_span(row, 'difference')} nats apart"
            for row in unequal
        ]
    )
    return values


def records(table: pd.DataFrame) -> list[dict[str, str]]:
    """The rows of a table whose cells are text as written."""
    return [{str(name): str(cell) for name, cell in row.items()} for row in table.to_dict("records")]


def plain(value: float) -> str:
    """A count as it is, a small chance as a power of ten, anything else with three significant digits."""
    if value == int(value):
        return str(int(value))
    if abs(value) >= 0.001:
        return f"{value:.3g}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return Latex(rf"${mantissa}\times10^{{{int(exponent)}}}$")


def _shift_row(row: Mapping[str, str], _swept: tuple[int, int]) -> list[str]:
    return [
        text.vector_label(row["vector"]),
        text.prompt_label(row["prompt"]),
        _layers(row),
        published.as_percent(row["p_yes_base_bf16"]),
        published.as_percent(row["p_yes_injected_bf16"]),
        text.nats(float(row["log_odds_shift"])),
        _span(row, "log_odds_shift"),
        _signed(row["logit_shift"]),
    ]


def _grid_row(row: Mapping[str, str], _swept: tuple[int, int]) -> list[str]:
    return [
        text.vector_label(row["vector"]),
        text.prompt_label(row["prompt"]),
        _layers(row),
        published.as_percent(row["p_yes"]),
        published.as_percent(row["p_no"]),
        _span(row, "logit_difference", 3),
        _signed(row["grid"]),
        _yes(row["fits"]),
    ]


def _spacing_row(row: Mapping[str, str], _swept: tuple[int, int]) -> list[str]:
    return [
        row["spacing"],
        f"{row['logits_from']} to {row['logits_to']}",
        f"{row['fits']} of {row['softmaxes']}",
        plain(float(row["expected_by_chance"])),
        plain(float(row["chance"])),
    ]


def _significand_row(row: Mapping[str, str], _swept: tuple[int, int]) -> list[str]:
    return [
        text.vector_label(row["vector"]),
        text.prompt_label(row["prompt"]),
        _layers(row),
        row["answer"],
        published.as_percent(row["printed"]),
        f"{100 * float(row['bfloat16']):.6g}%",
        row["candidates"],
        _yes(row["fits"]),
    ]


def _difference_row(row: Mapping[str, str], _swept: tuple[int, int]) -> list[str]:
    return [
        text.vector_label(row["vector"]),
        text.prompt_label(row["prompt"]),
        _layers(row),
        row["answer"],
        published.as_percent(row["base"]),
        published.as_percent(row["injected"]),
        published.as_percent(row["difference"]).replace("-", "−"),
        _yes(row["of_printed"]),
        _yes(row["of_bfloat16"]),
        _yes(row["rounded_again"]),
    ]


def _control_row(row: Mapping[str, str], _swept: tuple[int, int]) -> list[str]:
    return [
        text.vector_label(row["vector"]),
        published.as_percent(row["p_yes_base_bf16"]),
        published.as_percent(row["p_yes_injected_bf16"]),
        text.nats(float(row["log_odds_shift"])),
        _span(row, "log_odds_shift"),
    ]


def _comparison_row(row: Mapping[str, str], swept: tuple[int, int]) -> list[str]:
    return [
        _side(row, "left", swept),
        _side(row, "right", swept),
        QUANTITIES.get(row["quantity"], row["quantity"]),
        row["in_probability"],
        row["in_log_odds"],
    ]


def _reversal_row(row: Mapping[str, str], swept: tuple[int, int]) -> list[str]:
    return [
        _side(row, "above", swept),
        _points(row, "above_probability"),
        _span(row, "above_log_odds"),
        _side(row, "below", swept),
        _points(row, "below_probability"),
        _span(row, "below_log_odds"),
    ]


def _effect_row(row: Mapping[str, str], _swept: tuple[int, int]) -> list[str]:
    return [
        text.vector_label(row["vector"]),
        _layers(row),
        text.prompt_label(row["against"]),
        _span(row, "injected"),
        _span(row, "baseline"),
        _span(row, "shift"),
    ]


def _disagreement_row(row: Mapping[str, str], _swept: tuple[int, int]) -> list[str]:
    return [
        text.prompt_label(row["prompt"]),
        row["answer"],
        published.as_percent(row["printed"]),
        published.as_percent(row["other_printed"]),
        _yes(row["agrees"]),
        _span(row, "difference") if row["agrees"] == "False" else "–",
    ]


def _claim(row: Mapping[str, str], swept: tuple[int, int]) -> str:
    """A comparison of the post in words."""
    quantity = QUANTITIES.get(row["quantity"], row["quantity"])
    return f"“{_side(row, 'left', swept)}” above “{_side(row, 'right', swept)}” ({quantity})"


def _side(row: Mapping[str, str], side: str, swept: tuple[int, int]) -> str:
    vector, prompt = text.vector_label(row[f"{side}_vector"]), text.prompt_label(row[f"{side}_prompt"])
    layers = {name: row[f"{side}_{name}"] for name in KEY[1:]}
    return f"{vector}, {prompt}" + (f", layers {_layers(layers)}" if _is_swept(layers, swept) else "")


def _is_swept(row: Mapping[str, str], swept: tuple[int, int]) -> bool:
    return (row["first_layer"], row["last_layer"]) == tuple(map(str, swept))


def _layers(row: Mapping[str, str]) -> str:
    return text.layers(_float(row["first_layer"]), _float(row["last_layer"]))


def _float(cell: str) -> float:
    return float(cell) if cell else math.nan


def _span(row: Mapping[str, Any], name: str, decimals: int = 2) -> str:
    """An interval in nats, rounded outwards so that it still holds all that it held."""
    low, high = _float(str(row[f"{name}_low"])), _float(str(row[f"{name}_high"]))
    if math.isnan(low) or math.isnan(high):
        return "–"
    unit = 10**decimals
    return f"{math.floor(low * unit) / unit:.{decimals}f} to {math.ceil(high * unit) / unit:.{decimals}f}".replace(
        "-", "−"
    )


def _points(row: Mapping[str, str], name: str) -> str:
    """An interval of probabilities in percent, rounded outwards."""
    low, high = (float(row[f"{name}_{end}"]) for end in ("low", "high"))
    return f"{math.floor(low * 1e5) / 1e3:.3f}% to {math.ceil(high * 1e5) / 1e3:.3f}%"


def _signed(cell: str) -> str:
    value = _float(cell)
    return "–" if math.isnan(value) else f"{value:+.3f}".replace("-", "−")


def _yes(cell: str) -> str:
    return {"True": "yes", "False": "no"}.get(cell, cell)
