"""The tables of what is read from the post's own figures."""

from __future__ import annotations

from functools import cache

from introspection.experiments.declared import tables_of
from introspection.rereading import tables as rereading
from introspection.tables import Table

PUBLISHED = "published"
"""The folder below `results` of what is read from the post's own figures."""

REREADING = "rereading"
"""The page that shows them."""


@cache
def reread() -> dict[str, Table]:
    """By file name, the tables in results/published."""
    posts = [value for name, value in vars(rereading).items() if name.startswith("POST_")]
    return {table.name: table for table in tables_of(rereading) if table not in posts}
