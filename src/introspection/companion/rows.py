"""A table's rows as a page holds them: once, a list for each column, for the scripts that show, sort and draw them."""

from __future__ import annotations

import json
import string
from itertools import groupby
from typing import Any

import pandas as pd

from introspection.tables import Table

Cell = str | float | int | bool | None
LETTERS = string.digits + string.ascii_letters  # as assets/tables.js has them


def embedded(table: Table, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """By column: its name and kind, whether it tells rows apart, and its cells."""
    return [
        {
            "name": column.name,
            "kind": column.kind,
            "key": column.name in table.key,
            **packed([cell(value) for value in rows[column.name]]),
        }
        for column in table.columns
    ]


def cell(value: Any) -> Cell:
    """A cell as JSON has it; a missing value is None."""
    if value is None or pd.isna(value):
        return None
    plain: Cell = value.item() if hasattr(value, "item") else value
    return plain


def packed(cells: list[Cell]) -> dict[str, Any]:
    """Cells as they are (`cells`), or what they take (`levels`) and which each takes: what is shortest.

    codes: the place of each cell among the levels. runs: such a place, how many cells take it, and so on.
    letters: a letter of LETTERS for each cell.
    """
    levels = list(dict.fromkeys(cells))
    places = {level: place for place, level in enumerate(levels)}
    codes = [places[value] for value in cells]
    runs = [part for code, run in groupby(codes) for part in (code, len(list(run)))]
    forms: list[dict[str, Any]] = [
        {"cells": cells},
        {"levels": levels, "codes": codes},
        {"levels": levels, "runs": runs},
    ]
    if len(levels) <= len(LETTERS):
        forms.append({"levels": levels, "letters": "".join(LETTERS[code] for code in codes)})
    return min(forms, key=lambda each: len(json.dumps(each)))
