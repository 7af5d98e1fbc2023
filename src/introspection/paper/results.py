"""Reading result files for the report: what must be there is there, with the columns the formats promise."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

READOUT = (
    "p_yes_base",
    "p_yes_injected",
    "p_no_base",
    "p_no_injected",
    "log_odds_yes_base",
    "log_odds_yes_injected",
    "p_yes_base_bf16",
    "p_yes_injected_bf16",
    "p_no_base_bf16",
    "p_no_injected_bf16",
)
_RANGE = ("strength", "first_layer", "last_layer")

# Per result file: the columns that hold text, and those that hold numbers.
FORMATS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "detection.csv": (("vector", "prompt"), (*_RANGE, *READOUT)),
    "controls.csv": (("vector", "question", "group"), (*_RANGE, *READOUT)),
    "lens.csv": (("vector", "scenario", "prompt"), ("strength", "layer", "p_yes_base", "p_yes_injected")),
    "content.csv": (("vector", "prompt", "token"), ("layer", "p_base", "p_injected")),
    "boosted.csv": (("vector", "prompt", "token"), ("rank", "p_base", "p_injected", "log_odds_shift")),
    "sweep.csv": (("vector", "prompt"), (*_RANGE, "p_yes", "log_odds_yes")),
    "samples.csv": (("intervention", "text"), _RANGE),
}


class ResultError(ValueError):
    """A result file is missing or broken; the message names the file and the stage that makes it."""


@dataclass(frozen=True)
class Source:
    """Where numbers come from: a file, the stage that writes it, and the md5 of its bytes, as dvc.lock has it."""

    path: str
    stage: str
    md5: str


@dataclass
class Results:
    """The result files below a folder.

    root: the folder of the project, which holds `results` and `data`; paths are given and kept relative to it.
    stages: by output path (a file or a folder), the stage that writes it.
    read: every file read so far.
    """

    root: Path
    stages: Mapping[str, str] = field(default_factory=dict)
    read: dict[str, Source] = field(default_factory=dict)

    def table(self, path: str, text: Sequence[str] = (), numbers: Sequence[str] = ()) -> pd.DataFrame:
        """A CSV file as a table: text columns verbatim, number columns as floats, an empty cell as NaN.

        Text that is no UTF-8 comes out as U+FFFD. Raises ResultError where the file or a column is missing, a row is
        short, or a number is none.
        """
        data = self._bytes(path).decode("utf-8", errors="replace")
        reader = csv.reader(io.StringIO(data, newline=""), strict=True)
        try:
            header, *rows = list(reader)
        except (csv.Error, ValueError) as error:
            raise ResultError(f"{path}: no CSV table ({error}); {self._remedy(path)}") from error
        for column in (*text, *numbers):
            if column not in header:
                raise ResultError(f"{path}: no column {column!r} among {', '.join(header)}; {self._remedy(path)}")
        for number, row in enumerate(rows, start=2):
            if len(row) != len(header):
                raise ResultError(f"{path}: row {number} has {len(row)} cells, not {len(header)}; {self._remedy(path)}")
        table = pd.DataFrame(rows, columns=header, dtype=object)
        for column in numbers:
            try:
                table[column] = [float(cell) if cell != "" else float("nan") for cell in table[column]]
            except ValueError as error:
                raise ResultError(f"{path}: column {column!r}: {error}; {self._remedy(path)}") from error
            table[column] = table[column].astype(float)
        return table

    def result(self, model: str, name: str) -> pd.DataFrame:
        """A file of `results/<model>` in its documented format: `detection.csv`, `chosen_range/detection.csv`."""
        text, numbers = FORMATS[Path(name).name]
        return self.table(f"results/{model}/{name}", text, numbers)

    def json(self, path: str) -> Any:
        """A JSON file. Raises ResultError where it is missing or no JSON."""
        try:
            return json.loads(self._bytes(path))
        except ValueError as error:
            raise ResultError(f"{path}: no JSON ({error}); {self._remedy(path)}") from error

    def expects(self, path: str) -> bool:
        """Whether the pipeline has a stage that writes this file; where it has none, the experiment was not run."""
        return self.stage(path) != ""

    def stage(self, path: str) -> str:
        """The stage that writes this file, or the folder it lies in; empty where none does."""
        places = [path, *(parent.as_posix() for parent in PurePosixPath(path).parents)]
        return next((self.stages[place] for place in places if place in self.stages), "")

    def source(self, path: str) -> Source:
        """Where a file that has been read comes from."""
        if path not in self.read:
            self._bytes(path)
        return self.read[path]

    def _bytes(self, path: str) -> bytes:
        try:
            data = (self.root / path).read_bytes()
        except OSError as error:
            raise ResultError(f"{path}: cannot be read ({error.strerror}); {self._remedy(path)}") from error
        self.read[path] = Source(path, self.stage(path), hashlib.md5(data, usedforsecurity=False).hexdigest())
        return data

    def _remedy(self, path: str) -> str:
        stage = self.stage(path)
        return f"make it with `dvc repro {stage}`" if stage else "no stage makes it: is it in the repository?"


def shown_files(outputs: Iterable[str], models: Iterable[str]) -> list[str]:
    """Of the pipeline's outputs, the tables and JSON files of these models that the paper has to show."""
    folders = tuple(f"results/{model}/" for model in models)
    return [path for path in outputs if path.startswith(folders) and path.endswith((".csv", ".json"))]
