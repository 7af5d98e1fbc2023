"""The post's own figures, as printed, to stand beside ours."""

from __future__ import annotations

import pandas as pd

from introspection.paper.results import Results

FOLDER = "data/published"
_KEYS = ("strength", "first_layer", "last_layer")
_FIGURES = ("p_yes_base_bf16", "p_yes_injected_bf16", "p_no_base_bf16", "p_no_injected_bf16")


def published_detection(results: Results) -> pd.DataFrame:
    """The post's detection tables: vector, prompt, the figures as the digits it prints, and whether `swept`."""
    table = results.table(f"{FOLDER}/detection.csv", ("vector", "prompt", *_FIGURES), _KEYS)
    return table.assign(swept=_within(table, swept_layers(results)))


def published_controls(results: Results) -> pd.DataFrame:
    """The post's control questions: vector, means as printed, the shift's mean and standard deviation as fractions."""
    text = ("vector", *_FIGURES)
    return results.table(f"{FOLDER}/controls.csv", text, (*_KEYS, "p_yes_shift", "p_yes_shift_std"))


def published_samples(results: Results) -> pd.DataFrame:
    """The replies that the post shows: intervention, prompt, text, what was injected where, and whether `swept`."""
    table = results.table(f"{FOLDER}/samples.csv", ("intervention", "prompt", "text"), _KEYS)
    return table.assign(swept=_within(table, swept_layers(results)))


def swept_layers(results: Results) -> tuple[int, int]:
    """The layer range that the post chose by its sweep."""
    statements = results.table(f"{FOLDER}/statements.csv", ("quantity", "value"))
    value = statements.loc[statements["quantity"] == "chosen_range", "value"].iloc[0]
    first, last = str(value).split("-")
    return int(first), int(last)


def as_percent(printed: str) -> str:
    """A fraction as printed, in percent with the digits that it has: 0.00150 is 0.150%, 1.00 is 100%."""
    digits = len(printed.partition(".")[2])
    return f"{100 * float(printed):.{max(0, digits - 2)}f}%"


def _within(table: pd.DataFrame, layers: tuple[int, int]) -> pd.Series[bool]:
    return (table["first_layer"] == layers[0]) & (table["last_layer"] == layers[1])
