"""The choices and the words summed up, from `which.csv`, `which_orders.csv` and `naming.csv` alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from introspection.experiments.which.statistics import naming_summary, which_tables
from introspection.experiments.which.tables import (
    CONFUSION,
    LAYERS,
    LENS,
    NAMING,
    NAMING_SUMMARY,
    ORDERS,
    SUMMARY,
    WHICH,
)
from introspection.settings import Settings
from introspection.tables import Filled, Table, names_of


def summarise(settings: Settings, key: str, folder: Path) -> dict[str, object]:
    """The summaries of a model, whose result files lie in `folder`; without a row where it was read nothing."""
    which, lens, orders, naming = (
        table.read(folder / table.name, f"make it with `dvc repro which@{key}`")
        for table in (WHICH, LENS, ORDERS, NAMING)
    )
    layers, summary, confusion = which_tables(which, lens, orders, settings.which)
    return {
        LAYERS.name: _filled(LAYERS, layers),
        SUMMARY.name: _filled(SUMMARY, summary),
        CONFUSION.name: _filled(CONFUSION, confusion),
        NAMING_SUMMARY.name: _filled(NAMING_SUMMARY, naming_summary(naming, settings.which)),
    }


def _filled(table: Table, rows: pd.DataFrame) -> Filled:
    return table.of(rows.reindex(columns=names_of(table.columns)))
