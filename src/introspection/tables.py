"""Tidy tables as CSV text that any reader gives back cell by cell, whatever the cells hold."""

from __future__ import annotations

from typing import Any

import pandas as pd


def csv_text(table: pd.DataFrame) -> str:
    """The table as CSV: numbers with nine significant digits, missing values as empty cells, lines ended by "\\n".

    Cells with a comma, a quote or any kind of line break are quoted. pandas leaves a lone carriage return bare, which
    readers then take for the end of a row; a token may well be one.
    """
    lines = [tuple(table.columns), *table.itertuples(index=False, name=None)]
    return "".join(",".join(_cell(value) for value in line) + "\n" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        text = "" if pd.isna(value) else f"{value:.9g}"
    else:
        text = "" if value is pd.NA or value is None else str(value)
    if any(character in text for character in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
