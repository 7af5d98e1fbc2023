"""Two folders of results, file by file: what differs, by how much, where, and whether that is within tolerance."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import gguf
import numpy as np
import pandas as pd

from introspection.experiments.verdict.tables import VERDICT
from introspection.files import ResultError
from introspection.reproduction.declared import table_of
from introspection.reproduction.tolerances import COSINE, EXACT, GENERAL, Tolerance, tolerance_of
from introspection.tables import Column, Table

SUFFIXES = (".csv", ".json", ".gguf")


@dataclass(frozen=True)
class Difference:
    """A column of a table, a key of a JSON file or a block of a vector whose values are not the same.

    largest: the largest difference in tolerances; inf where values that are no numbers differ, or one is missing.
    excess: how many tolerances that is; above 1 is beyond. where: the row with it. beyond: how many rows are beyond.
    """

    column: str
    largest: float
    excess: float
    tolerance: Tolerance
    where: str
    beyond: int


@dataclass(frozen=True)
class FileDifference:
    """A result file in both folders, by its path in them.

    presence: `both`, or else what is wrong with the file as a whole, in words. missing, added: rows that are gone and
    new, by their keys. changed: tests of the verdict that pass no more, or do now.
    """

    file: str
    presence: str = "both"
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = field(default=())
    changed: tuple[str, ...] = ()

    @property
    def worst(self) -> Difference | None:
        """The difference that is largest in tolerances."""
        return max(self.differences, key=lambda each: each.excess, default=None)

    @property
    def is_same(self) -> bool:
        """Whether every value is the same."""
        return not (self.differences or self.is_beyond)

    @property
    def is_beyond(self) -> bool:
        """Whether anything is beyond tolerance."""
        worst = self.worst
        return self.presence != "both" or bool(self.missing or self.added) or (worst is not None and worst.excess > 1)


def compare_results(before: Path, after: Path) -> list[FileDifference]:
    """Every result file that either folder has, in order of path."""
    names = {path.relative_to(root) for root in (before, after) for path in _files(root)}
    return [compare_files(PurePosixPath(name.as_posix()), before, after) for name in sorted(names)]


def compare_files(file: PurePosixPath, before: Path, after: Path) -> FileDifference:
    """One file of both folders."""
    one, other = before / file, after / file
    for path, word in ((one, "new"), (other, "gone")):
        if not path.is_file():
            return FileDifference(str(file), presence=word)
    if one.read_bytes() == other.read_bytes():
        return FileDifference(str(file))
    table = table_of(file)
    if table is not None:
        try:
            return _of_tables(file, table, table.read(one), table.read(other))
        except ResultError as error:  # of an earlier revision, say, which declared it otherwise
            return FileDifference(str(file), presence=f"not as it is declared ({error})")
    if file.suffix == ".gguf":
        return FileDifference(str(file), differences=tuple(_of_vectors(one, other)))
    if file.suffix == ".json":
        first, second = (json.loads(path.read_text("utf-8")) for path in (one, other))
        return FileDifference(str(file), differences=tuple(_of_values(first, second)))
    whole = Difference("the whole file", math.inf, math.inf, EXACT, "", 1)
    return FileDifference(str(file), differences=(whole,))


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.suffix in SUFFIXES and path.is_file())


def _of_tables(file: PurePosixPath, table: Table, before: pd.DataFrame, after: pd.DataFrame) -> FileDifference:
    key = list(table.key)
    rows = before.merge(after, on=key, how="outer", suffixes=("", " after"), indicator=True)
    both = rows[rows["_merge"] == "both"]
    found = [
        difference
        for column in table.columns
        if column.name not in key
        and (difference := _of_column(file.name, column, both[column.name], both[f"{column.name} after"], both[key]))
    ]
    return FileDifference(
        str(file),
        missing=_keys(rows.loc[rows["_merge"] == "left_only", key]),
        added=_keys(rows.loc[rows["_merge"] == "right_only", key]),
        differences=tuple(found),
        changed=_verdicts(both) if table is VERDICT else (),
    )


def _of_column(file: str, column: Column, one: pd.Series, other: pd.Series, keys: pd.DataFrame) -> Difference | None:
    tolerance = tolerance_of(file, column)
    if column.kind in ("number", "integer"):
        first, second = (np.array(cells.astype(float), dtype=np.float64) for cells in (one, other))
        empty = np.isnan(first), np.isnan(second)
        for values in (first, second):
            values[empty[0] & empty[1]] = 0
        half_empty = empty[0] != empty[1]
        size = np.where(half_empty, np.inf, np.abs(first - second))
        excess = np.where(half_empty, np.inf, tolerance.excess(first, second))
    else:
        size = excess = np.where(one.to_numpy() != other.to_numpy(), np.inf, 0.0)
    if not size.any():
        return None
    worst = max(range(len(size)), key=lambda row: (excess[row], size[row]))
    where, beyond = _key(keys.iloc[worst]), int((excess > 1).sum())
    return Difference(column.name, float(size[worst]), float(excess[worst]), tolerance, where, beyond)


def _verdicts(both: pd.DataFrame) -> tuple[str, ...]:
    """The tests that pass no more, or do now."""
    words = {True: "passes", False: "fails"}
    return tuple(
        f"{row['test']}: {words[bool(row['passed'])]} before, {words[bool(row['passed after'])]} now"
        for _, row in both[both["passed"] != both["passed after"]].iterrows()
    )


def _of_vectors(before: Path, after: Path) -> Iterator[Difference]:
    one, other = ({tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors} for path in (before, after))
    for name in dict.fromkeys([*one, *other]):
        if name not in one or name not in other or one[name].shape != other[name].shape:
            yield Difference(name, math.inf, math.inf, EXACT, "", 1)
            continue
        first, second = (np.asarray(each[name], dtype=np.float64) for each in (one, other))
        norms = np.linalg.norm(first), np.linalg.norm(second)
        apart = abs(1 - first @ second / (norms[0] * norms[1])) + abs(norms[0] - norms[1])
        if not np.array_equal(first, second):
            excess = float(apart / COSINE.absolute)
            yield Difference(name, float(apart), excess, COSINE, "", int(excess > 1))


def _of_values(before: Any, after: Any) -> Iterator[Difference]:
    one, other = dict(_leaves(before)), dict(_leaves(after))
    for key in dict.fromkeys([*one, *other]):
        first, second = one.get(key), other.get(key)
        if key in one and key in other and first == second:
            continue
        if isinstance(first, float) and isinstance(second, int | float) and not isinstance(second, bool):
            excess = float(GENERAL.excess(np.array([first]), np.array([float(second)]))[0])
            yield Difference(key, abs(first - second), excess, GENERAL, "", int(excess > 1))
        else:
            yield Difference(key, math.inf, math.inf, EXACT, f"{_shown(one, key)}, now {_shown(other, key)}", 1)


def _shown(values: dict[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "absent"


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _leaves(part, f"{name}[{number}]")
    else:
        yield name, value


def _keys(rows: pd.DataFrame) -> tuple[str, ...]:
    return tuple(_key(row) for _, row in rows.iterrows())


def _key(row: pd.Series) -> str:
    values: Sequence[Any] = list(row)
    return " ".join(str(value) for value in values)
