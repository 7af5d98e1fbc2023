"""Reading result files for the report: what must be there is there and is what is declared, and where it comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

import pandas as pd

from introspection.files import ResultError, read_json
from introspection.paper.pipeline import Source
from introspection.tables import Table

T = TypeVar("T")


@dataclass
class Results:
    """The result files below a folder.

    root: the folder of the project, which holds `results` and `data`; paths are given and kept relative to it.
    stages: by output path (a file or a folder), the stage that writes it.
    sources: every file read so far.
    """

    root: Path
    stages: Mapping[str, str] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)

    def read(self, table: Table, model: str, folder: str = "") -> pd.DataFrame:
        """A table of a model, or one in a folder of its results (`chosen_range`).

        Raises ResultError, which names the file and the stage that makes it, where it is missing or not as declared.
        """
        return self.table(table, (PurePosixPath("results", model, folder) / table.name).as_posix())

    def table(self, table: Table, path: str) -> pd.DataFrame:
        """The table in the file at a path; text that is no UTF-8 comes out as U+FFFD. Raises as `read` does."""
        text = self._bytes(path).decode("utf-8", errors="replace")
        return table.parse(text.encode(), path, self._remedy(path))

    def json(self, path: str, form: type[T]) -> T:
        """A JSON file as a value of a type. Raises ResultError where it is missing or another thing."""
        self._bytes(path)
        return read_json(self.root / path, form, self._remedy(path))

    def expects(self, *paths: str) -> bool:
        """Whether the pipeline has a stage that writes each file; where it has none, the experiment was not run."""
        return all(self.stage(path) != "" for path in paths)

    def stage(self, path: str) -> str:
        """The stage that writes this file, or the folder it lies in; empty where none does."""
        places = [path, *(parent.as_posix() for parent in PurePosixPath(path).parents)]
        return next((self.stages[place] for place in places if place in self.stages), "")

    def source(self, path: str) -> Source:
        """Where a file comes from."""
        if path not in self.sources:
            self._bytes(path)
        return self.sources[path]

    def _bytes(self, path: str) -> bytes:
        try:
            data = (self.root / path).read_bytes()
        except OSError as error:
            raise ResultError(f"{path}: cannot be read ({error.strerror}); {self._remedy(path)}") from error
        self.sources[path] = Source(path, self.stage(path), hashlib.md5(data, usedforsecurity=False).hexdigest())
        return data

    def _remedy(self, path: str) -> str:
        stage = self.stage(path)
        return f"make it with `dvc repro {stage}`" if stage else "no stage makes it: is it in the repository?"
