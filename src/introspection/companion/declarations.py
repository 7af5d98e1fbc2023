"""The tables that the experiments declare: a new folder of `introspection.experiments` is found by being there."""

from __future__ import annotations

from functools import cache
from types import ModuleType

from introspection.experiments import experiments_with, load
from introspection.rereading import tables as rereading
from introspection.tables import Table

PUBLISHED = "published"
"""The folder below `results` of what is read from the post's own figures."""

REREADING = "rereading"
"""The page that shows them."""


@cache
def measured() -> dict[str, tuple[str, Table]]:
    """By file name, the experiment that declares it and its declaration."""
    return {table.name: (name, table) for name in experiments_with("tables") for table in _of(load(name, "tables"))}


@cache
def reread() -> dict[str, Table]:
    """By file name, the tables in results/published."""
    posts = [value for name, value in vars(rereading).items() if name.startswith("POST_")]
    return {table.name: table for table in _of(rereading) if table not in posts}


def _of(module: ModuleType) -> list[Table]:
    return [value for value in vars(module).values() if isinstance(value, Table)]
