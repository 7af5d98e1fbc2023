"""The tables that the experiments declare: a new folder here is found by being there."""

from __future__ import annotations

from functools import cache
from types import ModuleType

from introspection.experiments import experiments_with, load
from introspection.tables import Table


@cache
def measured() -> dict[str, tuple[str, Table]]:
    """By file name, the experiment that declares it and its declaration."""
    return {
        table.name: (name, table) for name in experiments_with("tables") for table in tables_of(load(name, "tables"))
    }


def tables_of(module: ModuleType) -> list[Table]:
    """The tables that a module declares."""
    return [value for value in vars(module).values() if isinstance(value, Table)]
