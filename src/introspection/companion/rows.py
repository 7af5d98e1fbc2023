"""A table's rows as a page holds them: once, a list for each column, for the scripts that show, sort and draw them."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from introspection.tables import Table

Cell = str | float | int | bool | None


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
    """Cells as they are (`cells`), or what they take (`levels`) and which each takes (`codes`): what is shorter."""
    levels = list(dict.fromkeys(cells))
    places = {level: place for place, level in enumerate(levels)}
    plain = {"cells": cells}
    coded = {"levels": levels, "codes": [places[value] for value in cells]}
    return min(plain, coded, key=lambda each: len(json.dumps(each)))
