"""The post's figures read again in the report: shifts in nats, the test of the grid, comparisons, disagreements."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from introspection import names
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.latex import Latex
from introspection.paper.prompts import Prompts
from introspection.paper.render import Renderer, origin
from introspection.rereading import tables
from introspection.rereading.analysis import CONTROLS
from introspection.rereading.figure import shifts_figure
from introspection.rereading.published import REREAD, SHIFTS_PATH, as_percent, layers, swept_layers
from introspection.tables import Table

SUMMARY_PATH = f"results/{REREAD}/{tables.SUMMARY.name}"
QUANTITIES = {"shift": "shift", "injected": "under injection", "lift": "lift by the info"}
FILLER = "lorem_ipsum"  # the prompt of the post that the prose holds against its info prompt
INFO = "info"
# The quantities of the summary that the prose says.
SAID = (
    *("softmaxes", "grid_spacing", "grid_fits", "grid_expected_by_chance", "grid_chance"),
    *("figures", "figures_fit", "figures_expected_by_chance"),
    *("differences", "differences_of_printed", "differences_rounded_again"),
    *("comparisons", "comparisons_that_change", "reversals"),
    *(
        f"comparisons_{verdict}_in_{scale}"
        for scale in ("probability", "log_odds")
        for verdict in ("holds", "reversed", "undecided")
    ),
)

Row = Mapping[str, Any]


def render_rereading(renderer: Renderer) -> dict[str, str]:
    """The rows of every table of the section, and the counts and extremes that its prose says."""
    results = renderer.results
    if not results.expects(SHIFTS_PATH):
        return {}
    words = _Words(renderer.prompts, swept_layers(results))
    makers: dict[Table, Callable[[Row], list[str]]] = {
        tables.SHIFTS: words.shift,
        tables.GRID: words.grid,
        tables.SPACINGS: words.spacing,
        tables.SIGNIFICANDS: words.significand,
        tables.DIFFERENCES: words.difference,
        tables.CONTROLS: words.control,
        tables.COMPARISONS: words.comparison,
        tables.REVERSALS: words.reversal,
        tables.PROMPT_EFFECTS: words.effect,
        tables.DISAGREEMENTS: words.disagreement,
    }
    read = {table: records(results.read(table, REREAD)) for table in makers}
    values: dict[str, str] = {"post.origin": origin(results.source(SHIFTS_PATH))}
    for table, maker in makers.items():
        name = table.name.removesuffix(".csv")
        file, path = f"post-{name.replace('_', '-')}", f"results/{REREAD}/{table.name}"
        values[f"post.{name}.rows"] = renderer.render("rows", file, [path], rows=map(maker, read[table]))
    summary = results.read(tables.SUMMARY, REREAD).set_index("quantity")["value"]
    values |= {f"post.{quantity}": plain(summary[quantity]) for quantity in SAID}
    values |= _effect_values(read[tables.PROMPT_EFFECTS], read[tables.SHIFTS], words)
    changed = [words.claim(row) for row in read[tables.COMPARISONS] if row["changes"]]
    unequal = [row for row in read[tables.DISAGREEMENTS] if not row["agrees"]]
    return values | {
        "post.changed": wording.listing(changed),
        "post.disagreements.count": str(len(read[tables.DISAGREEMENTS])),
        "post.unequal.count": str(len(unequal)),
        "post.unequal.steps": wording.listing(sorted({str(abs(row["steps"])) for row in unequal})),
        "post.unequal": wording.listing([words.inequality(row) for row in unequal]),
    }


def draw_rereading(gallery: Gallery) -> None:
    """The post's shifts by themselves."""
    if gallery.results.expects(SHIFTS_PATH):
        figure = shifts_figure(gallery.results.read(tables.SHIFTS, REREAD), gallery.look)
        gallery.add("post-shifts", figure, [SHIFTS_PATH])


def _effect_values(effects: list[Row], shifts: list[Row], words: _Words) -> dict[str, str]:
    """What the prose says of the info prompt against the filler, for the vector that has both."""
    values: dict[str, str] = {}
    for row in effects:
        if row["against"] != FILLER:
            continue
        values["post.lorem.vector"] = row["vector"]
        values |= {f"post.lorem.{name}": span(row, name) for name in ("injected", "baseline", "shift")}
        smaller, larger = row["shift_high"] < 0, row["shift_low"] > 0
        values["post.lorem.verdict"] = "smaller than" if smaller else "larger than" if larger else "not told apart from"
        for shift in shifts:
            usual = shift["vector"] == row["vector"] and not words.is_swept(shift)
            if usual and shift["prompt"] in (INFO, FILLER):
                values[f"post.shift.{shift['prompt']}"] = span(shift, "log_odds_shift")
                values[f"post.printed.{shift['prompt']}"] = as_percent(shift["p_yes_injected_bf16"])
    return values


def records(table: pd.DataFrame) -> list[Row]:
    """The rows of a table by column name."""
    return [{str(name): cell for name, cell in row.items()} for row in table.to_dict("records")]


class _Words:
    """The rows of the section's tables in words and figures, and what the prose says of single ones."""

    def __init__(self, prompts: Prompts, swept: tuple[str, str]) -> None:
        self.prompts = prompts
        self.swept = swept

    def shift(self, row: Row) -> list[str]:
        return [
            *self._key(row),
            as_percent(row["p_yes_base_bf16"]),
            as_percent(row["p_yes_injected_bf16"]),
            wording.nats(row["log_odds_shift"]),
            span(row, "log_odds_shift"),
            signed(row["logit_shift"]),
        ]

    def grid(self, row: Row) -> list[str]:
        return [
            *self._key(row),
            as_percent(row["p_yes"]),
            as_percent(row["p_no"]),
            span(row, "logit_difference", 3),
            signed(row["grid"]),
            yes(row["fits"]),
        ]

    def spacing(self, row: Row) -> list[str]:
        return [
            f"{row['spacing']:g}",
            f"{row['logits_from']:g} to {row['logits_to']:g}",
            f"{row['fits']} of {row['softmaxes']}",
            plain(row["expected_by_chance"]),
            plain(row["chance"]),
        ]

    def significand(self, row: Row) -> list[str]:
        return [
            *self._key(row),
            row["answer"],
            as_percent(row["printed"]),
            f"{100 * row['bfloat16']:.6g}%",
            str(row["candidates"]),
            yes(row["fits"]),
        ]

    def difference(self, row: Row) -> list[str]:
        return [
            *self._key(row),
            row["answer"],
            as_percent(row["base"]),
            as_percent(row["injected"]),
            as_percent(row["difference"]).replace("-", "−"),
            *(yes(row[name]) for name in ("of_printed", "of_bfloat16", "rounded_again")),
        ]

    def control(self, row: Row) -> list[str]:
        return [
            names.vector_label(row["vector"]),
            as_percent(row["p_yes_base_bf16"]),
            as_percent(row["p_yes_injected_bf16"]),
            wording.nats(row["log_odds_shift"]),
            span(row, "log_odds_shift"),
        ]

    def comparison(self, row: Row) -> list[str]:
        return [
            self._side(row, "left"),
            self._side(row, "right"),
            QUANTITIES.get(row["quantity"], row["quantity"]),
            row["in_probability"],
            row["in_log_odds"],
        ]

    def reversal(self, row: Row) -> list[str]:
        return [
            cell
            for side in ("above", "below")
            for cell in (
                self._side(row, side),
                percent_span(row, f"{side}_probability"),
                span(row, f"{side}_log_odds"),
            )
        ]

    def effect(self, row: Row) -> list[str]:
        vector, against = names.vector_label(row["vector"]), self.prompts.label(row["against"])
        return [vector, layers(row), against, *(span(row, name) for name in ("injected", "baseline", "shift"))]

    def disagreement(self, row: Row) -> list[str]:
        return [
            self.prompts.label(row["prompt"]),
            row["answer"],
            as_percent(row["printed"]),
            as_percent(row["other_printed"]),
            yes(row["agrees"]),
            "–" if row["agrees"] else span(row, "difference"),
        ]

    def claim(self, row: Row) -> str:
        """A comparison of the post."""
        quantity = QUANTITIES.get(row["quantity"], row["quantity"])
        return f"“{self._side(row, 'left')}” above “{self._side(row, 'right')}” ({quantity})"

    def inequality(self, row: Row) -> str:
        """Two unsteered figures that are not the same."""
        figures = f"{as_percent(row['printed'])} and {as_percent(row['other_printed'])}"
        return f"{self.prompts.label(row['prompt'])}: {figures}, {span(row, 'difference')} nats apart"

    def is_swept(self, row: Row) -> bool:
        """Whether a row is of the layers that the post chose by its sweep."""
        return (row["first_layer"], row["last_layer"]) == self.swept

    def _key(self, row: Row) -> tuple[str, str, str]:
        return names.vector_label(row["vector"]), self.prompts.label(row["prompt"]), layers(row)

    def _side(self, row: Row, side: str) -> str:
        place = {name: row[f"{side}_{name}"] for name in ("vector", "prompt", "first_layer", "last_layer")}
        asked = "control questions" if place["prompt"] == CONTROLS else self.prompts.label(place["prompt"])
        where = f", layers {layers(place)}" if self.is_swept(place) else ""
        return f"{names.vector_label(place['vector'])}, {asked}{where}"


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


def percent_span(row: Row, name: str) -> str:
    """An interval of probabilities in percent, rounded outwards."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{math.floor(low * 1e5) / 1e3:.3f}% to {math.ceil(high * 1e5) / 1e3:.3f}%"


def signed(value: float) -> str:
    """A number of nats on the grid, with its sign."""
    return f"{value:+.3f}".replace("-", "−")


def yes(truth: bool) -> str:
    """A truth in words."""
    return "yes" if truth else "no"
