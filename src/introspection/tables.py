"""Tables as they lie in result files: columns, types, ranges and meaning, declared once for writers, readers and docs.

Each experiment declares its own tables in its folder; what they share is here.
"""

from __future__ import annotations

import io
import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from introspection.files import ResultError, write_json, write_text

Kind = Literal["text", "number", "integer", "truth"]
_DTYPES: dict[Kind, Any] = {"text": str, "number": float, "integer": "Int64", "truth": bool}
_TRUTHS = {"True": True, "False": False}


@dataclass(frozen=True)
class Column:
    """A column: its name, what its cells are and mean, the range they lie in, whether they may be empty."""

    name: str
    kind: Kind
    meaning: str
    low: float = -math.inf
    high: float = math.inf
    may_be_empty: bool = False

    def named(self, name: str, meaning: str | None = None) -> Column:
        """The same column by another name."""
        return replace(self, name=name, meaning=meaning or self.meaning)

    def schema(self) -> pa.Column:
        """As pandera checks it; a number must be finite."""
        checks = []
        if self.kind == "number":
            checks.append(pa.Check(lambda cells: cells.abs() < math.inf, error="is not finite"))
        if self.kind in ("number", "integer") and (self.low, self.high) != (-math.inf, math.inf):
            checks.append(
                pa.Check.in_range(self.low, self.high, error=f"is not between {self.low:g} and {self.high:g}")
            )
        coerce = self.kind != "truth"  # any text would do for True
        return pa.Column(_DTYPES[self.kind], checks, nullable=self.may_be_empty, coerce=coerce)


@dataclass(frozen=True)
class Filled:
    """A table and its rows."""

    table: Table
    rows: pd.DataFrame


@dataclass(frozen=True)
class Table:
    """A result file: its name, what a row is, the columns that tell rows apart, and all columns in order.

    full: the columns of the key in groups of which every combination has a row, so that a lost one is found; empty
    where not all combinations are measured. panels: the column whose values are measured in units of their own.
    """

    name: str
    about: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    full: tuple[tuple[str, ...], ...] = ()
    panels: str = ""

    def of(self, rows: pd.DataFrame) -> Filled:
        """The table with these rows, to be written."""
        return Filled(self, rows)

    def check(self, table: pd.DataFrame, where: str | Path = "") -> pd.DataFrame:
        """The table with the declared types. Raises ResultError: the file, the row and column, and what is wrong."""
        schema = pa.DataFrameSchema(
            {column.name: column.schema() for column in self.columns},
            strict=True,
            ordered=True,
            unique=list(self.key),
            unique_column_names=True,
        )
        try:
            checked: pd.DataFrame = schema.validate(table, lazy=True)
        except SchemaErrors as error:
            raise ResultError(f"{where or self.name}: {_shortened(self._complaint(table, error))}") from error
        if lost := self._lost(checked):
            raise ResultError(f"{where or self.name}: the row {lost} is missing")
        return checked

    def write(self, table: pd.DataFrame, path: Path) -> None:
        """Check and write the table, whole or not at all."""
        write_text(path, csv_text(self.check(table[[column.name for column in self.columns]], path)))

    def read(self, path: Path, remedy: str = "") -> pd.DataFrame:
        """The table in a file. Raises ResultError where it is missing or not what is declared."""
        try:
            return self.parse(path.read_bytes(), path, remedy)
        except OSError as error:
            raise ResultError(f"{path}: cannot be read ({error.strerror}){remedy and f'; {remedy}'}") from error

    def parse(self, data: bytes, where: str | Path, remedy: str = "") -> pd.DataFrame:
        """The table in the bytes of a file; text cells as they are, whatever they hold, empty numbers as missing."""
        numbers = [column.name for column in self.columns if column.kind != "text"]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # a row that is too long
                text = io.StringIO(data.decode("utf-8"), newline="")
                # pandas' own parser ends a cell at a NUL, which a token may hold
                cells = pd.read_csv(text, dtype=str, keep_default_na=False, index_col=False, engine="python")
            for name in set(numbers) & set(cells):
                cells[name] = cells[name].replace("", None)
            for column in self.columns:
                if column.kind == "truth" and column.name in cells and set(cells[column.name]) <= set(_TRUTHS):
                    cells[column.name] = cells[column.name].map(_TRUTHS).astype(bool)
            return self.check(cells, where)
        except ResultError as error:
            raise ResultError(f"{error}{remedy and f'; {remedy}'}") from error
        except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
            reason = _shortened(" ".join(str(error).split()))
            raise ResultError(f"{where}: no CSV table ({reason}){remedy and f'; {remedy}'}") from error

    def _lost(self, table: pd.DataFrame) -> dict[str, Any] | None:
        """The first combination of a full table's key that has no row."""
        parts = [list(dict.fromkeys(table[list(group)].itertuples(index=False, name=None))) for group in self.full]
        if not parts or math.prod(map(len, parts)) == len(table):
            return None
        columns = [column for group in self.full for column in group]
        there = set(table[columns].itertuples(index=False, name=None))
        wanted = (tuple(value for part in each for value in part) for each in itertools.product(*parts))
        return next(dict(zip(columns, row, strict=True)) for row in wanted if row not in there)

    def _complaint(self, table: pd.DataFrame, error: SchemaErrors) -> str:
        cases = error.failure_cases
        of_columns = cases["check"].astype(str).str.startswith("column_")  # without which the others cannot be told
        first = cases[of_columns if of_columns.any() else slice(None)].iloc[0]
        column, check, row = first["column"], str(first["check"]), first["index"]
        if check == "column_in_dataframe":
            return f"no column {first['failure_case']!r} among {', '.join(map(str, table.columns))}"
        if check == "column_in_schema":
            return (
                f"unknown column {first['failure_case']!r}; declared: {', '.join(each.name for each in self.columns)}"
            )
        if "unique" in check or check == "multiple_fields_uniqueness":
            doubled = table[table.duplicated(list(self.key))].iloc[0]
            return f"the row {doubled[list(self.key)].to_dict()} is there twice"
        what = {"not_nullable": "is empty"}.get(check, check)
        what = f"is no {self._kind(column)}" if "coerce" in what or "dtype" in what else what
        place = table.loc[row, list(self.key)].to_dict() if pd.notna(row) and row in table.index else {}
        return f"column {column!r}: {first['failure_case']!r} {what} in the row {place}"

    def _kind(self, column: object) -> str:
        return next((each.kind for each in self.columns if each.name == column), "value")


def _shortened(text: str) -> str:
    """A complaint that quotes what it found, however long that is, in a line that can be read."""
    return text if len(text) <= 1000 else f"{text[:1000]}…"


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


VECTOR = Column("vector", "text", "what was injected: a vector's name, or `finetune` where the finetune read turn 1")
PROMPT = Column("prompt", "text", "the prompt of turn 1, a key of `first_turn` in data/prompts/detection.yaml")
STRENGTH = Column(
    "strength", "number", "what a unit direction is multiplied with; empty for the finetune", may_be_empty=True
)
FIRST_LAYER = Column("first_layer", "integer", "the first block after which the vector is added", 0, may_be_empty=True)
LAST_LAYER = Column("last_layer", "integer", "the last block after which the vector is added", 0, may_be_empty=True)
RANGE = (STRENGTH, FIRST_LAYER, LAST_LAYER)
LAYER = Column("layer", "integer", "0 is the embedding, k what follows block k-1; the final norm is applied at each", 0)


def probability(name: str, meaning: str) -> Column:
    """A column of probabilities."""
    return Column(name, "number", meaning, 0, 1)


def nats(name: str, meaning: str) -> Column:
    """A column of log-odds, or of differences of them."""
    return Column(name, "number", f"{meaning}, in nats")


_ARMS = {"base": "with nothing injected", "injected": "with the injection"}

READOUT: tuple[Column, ...] = (
    *(
        probability(f"p_{a}_{arm}", f"probability of {a} {words}")
        for a in ("yes", "no")
        for arm, words in _ARMS.items()
    ),
    *(nats(f"log_odds_yes_{arm}", f"log-odds of yes {words}") for arm, words in _ARMS.items()),
    *(
        probability(f"p_{a}_{arm}_bf16", f"probability of {a} {words}, rounded as the post's figures are")
        for a in ("yes", "no")
        for arm, words in _ARMS.items()
    ),
    *(
        probability(f"answer_mass_{arm}", f"probability of yes and of no together, {words}")
        for arm, words in _ARMS.items()
    ),
    *(nats(f"logit_difference_{arm}", f"logit of yes less that of no, {words}") for arm, words in _ARMS.items()),
)
"""The answer to a yes/no question, without the injection and with it."""


def names_of(columns: Sequence[Column]) -> list[str]:
    """The names of columns."""
    return [column.name for column in columns]


Outputs = Mapping[str, Any]
"""By the name of a result file, the table that it holds (`Table.of`) or, for JSON, the value."""


def write_outputs(outputs: Outputs, folder: Path) -> None:
    """Write result files, each whole or not at all."""
    for name, value in outputs.items():
        if isinstance(value, Filled):
            value.table.write(value.rows, folder / name)
        else:
            write_json(folder / name, value)
