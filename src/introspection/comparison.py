"""Two folders of result files held against each other: the largest difference in each, and what is beyond tolerance."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from introspection.experiments import experiments_with, load
from introspection.tables import Table

TOLERANCE = 1e-4
"""What another processor may change: a probability by so much, a number of any other size by this share of it."""


@dataclass(frozen=True)
class Difference:
    """One result file in both folders.

    largest: of its numbers, relative where they are larger than 1. where: the column or key with it. problem: what is
    not within tolerance, in words; empty where all is.
    """

    file: str
    largest: float
    where: str
    problem: str


def compare_results(before: Path, after: Path) -> list[Difference]:
    """Every table and JSON file that either folder has, `<model>/<name>`, in order. Vectors are not compared."""
    tables = _tables()
    names = {path.relative_to(root).as_posix() for root in (before, after) for path in _files(root)}
    return [_compare(name, before / name, after / name, tables.get(Path(name).name)) for name in sorted(names)]


def _files(root: Path) -> Iterator[Path]:
    for suffix in ("csv", "json"):
        yield from root.rglob(f"*.{suffix}")


def _tables() -> dict[str, Table]:
    modules = [load(name, "tables") for name in experiments_with("tables")]
    tables = [value for module in modules for value in vars(module).values() if isinstance(value, Table)]
    return {table.name: table for table in tables}


def _compare(name: str, before: Path, after: Path, table: Table | None) -> Difference:
    for path, word in ((before, "new"), (after, "gone")):
        if not path.is_file():
            return Difference(name, math.inf, "", f"is {word}")
    if before.read_bytes() == after.read_bytes():
        return Difference(name, 0.0, "", "")
    if table is not None:
        return _of_tables(name, table, table.read(before), table.read(after))
    if name.endswith(".json"):
        return _of_values(name, json.loads(before.read_text("utf-8")), json.loads(after.read_text("utf-8")))
    return Difference(name, math.inf, "", "differs")


def _of_tables(name: str, table: Table, before: pd.DataFrame, after: pd.DataFrame) -> Difference:
    key = list(table.key)
    both = before.merge(after, on=key, how="outer", suffixes=("", " after"), indicator=True)
    lonely = both[both["_merge"] != "both"]
    if len(lonely):
        word = "gone" if lonely["_merge"].iloc[0] == "left_only" else "new"
        return Difference(name, math.inf, "", f"{len(lonely)} rows differ; {lonely[key].iloc[0].to_dict()} is {word}")
    largest, where = 0.0, ""
    for column in table.columns:
        if column.name in key:
            continue
        one, other = both[column.name], both[f"{column.name} after"]
        if column.kind in ("text", "truth"):
            changed = one != other
            if changed.any():
                return Difference(name, math.inf, column.name, f"{column.name} changed in {int(changed.sum())} rows")
            continue
        if (one.isna() != other.isna()).any():
            return Difference(name, math.inf, column.name, f"{column.name} is empty where it was not, or the reverse")
        first, second = (values.dropna().astype(float) for values in (one, other))
        found = float(((first - second).abs() / first.abs().clip(lower=1.0)).max()) if len(first) else 0.0
        if found > largest:
            largest, where = found, column.name
    return Difference(name, largest, where, f"{where} differs by {largest:.2g}" if largest > TOLERANCE else "")


def _of_values(name: str, before: Any, after: Any) -> Difference:
    largest, where = 0.0, ""
    one, other = dict(_leaves(before)), dict(_leaves(after))
    for key in dict.fromkeys([*one, *other]):
        if key not in one or key not in other:
            return Difference(name, math.inf, key, f"{key} is {'new' if key not in one else 'gone'}")
        first, second = one[key], other[key]
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (first, second))
        if not numbers:
            if first != second:
                return Difference(name, math.inf, key, f"{key} was {first!r} and is {second!r}")
            continue
        found = abs(first - second) / max(1.0, abs(first))
        if found > largest:
            largest, where = found, key
    return Difference(name, largest, where, f"{where} differs by {largest:.2g}" if largest > TOLERANCE else "")


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _leaves(part, f"{name}[{number}]")
    else:
        yield name, value
