"""Which table a result file was declared as."""

from __future__ import annotations

from functools import cache
from pathlib import PurePosixPath

from introspection.experiments import experiments_with, load
from introspection.rereading import tables as published
from introspection.tables import Table

_PUBLISHED = "published"  # the folder of the post's figures, read again, among those of the models


def table_of(file: PurePosixPath) -> Table | None:
    """The table of a file, relative to the results; None where it is not a declared one."""
    return _tables(file.parts[0] == _PUBLISHED).get(file.name)


@cache
def _tables(reread: bool) -> dict[str, Table]:
    modules = [published] if reread else [load(name, "tables") for name in experiments_with("tables")]
    return {value.name: value for module in modules for value in vars(module).values() if isinstance(value, Table)}
