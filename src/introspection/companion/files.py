"""Which result files there are: what declares each, on which page it stands, and where it comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

from introspection.companion.declarations import PUBLISHED, REREADING, reread
from introspection.experiments.compared.tables import COMPARED
from introspection.experiments.declared import measured
from introspection.files import ResultError
from introspection.paper.results import Results
from introspection.tables import Table

OVERVIEW = "index"
"""The page of a folder's files that belong to no experiment."""

COMPARISON = f"paper/tables/{COMPARED.name}"
"""The table of all tests of all models, which has a page of its own."""

_SHOWN = (".csv", ".json")


@dataclass(frozen=True, order=True)
class Place:
    """A page: the folder below `results` whose files it shows, and its name, as a rule an experiment's."""

    folder: str
    name: str

    @property
    def path(self) -> str:
        """Its file, relative to the companion's folder."""
        return f"{self.folder}/{self.name}.html"


@dataclass(frozen=True)
class ResultFile:
    """A result file. table: its declaration, None for JSON. sha256, size: of its bytes."""

    path: str
    place: Place
    table: Table | None
    stage: str
    sha256: str
    size: int

    @property
    def command(self) -> str:
        """What makes it anew."""
        return f"dvc repro {self.stage}"


def result_files(results: Results, models: Collection[str]) -> list[ResultFile]:
    """Every table and every JSON file that the pipeline writes below `results`, in the order of its stages.

    JSON stands beside the table of its stage. Raises ResultError for a file that is missing, or declared nowhere.
    """
    paths = [path for output in results.stages for path in _within(results, output)]
    tables = {path: _declared(path, models) for path in paths if path.endswith(".csv")}
    of_stages: dict[tuple[str, str], Place] = {}
    for path, (place, _) in tables.items():
        of_stages.setdefault((results.stage(path), place.folder), place)
    shown: dict[str, tuple[Place, Table | None]] = {}
    for path in paths:
        folder = _folder(path, models)
        shown[path] = tables.get(path) or (
            of_stages.get((results.stage(path), folder), Place(folder, OVERVIEW)),
            None,
        )
    if results.expects(COMPARISON):
        shown[COMPARISON] = Place("study", "compared"), COMPARED
    found = []
    for path, (place, table) in shown.items():
        data = _bytes(results, path)
        found.append(ResultFile(path, place, table, results.stage(path), hashlib.sha256(data).hexdigest(), len(data)))
    return found


def _within(results: Results, output: str) -> list[str]:
    """The tables and JSON files that an output of the pipeline is, or that lie in it."""
    if not output.startswith("results/"):
        return []
    if output.endswith(_SHOWN):
        return [output]
    files = sorted(path for path in (results.root / output).rglob("*") if path.suffix in _SHOWN)
    return [path.relative_to(results.root).as_posix() for path in files]


def _folder(path: str, models: Collection[str]) -> str:
    """The folder of a model, for what lies deeper in it too and for `NAME/MODEL.csv`; else its own."""
    parts = PurePosixPath(path).parts[1:]
    if parts[0] in models:
        return parts[0]
    stem = PurePosixPath(path).stem
    return stem if stem in models else "/".join(parts[:-1])


def _declared(path: str, models: Collection[str]) -> tuple[Place, Table]:
    """Where a table stands, and what declares it. What lies in a folder of a model's folder stands under its name."""
    folder, parent = _folder(path, models), PurePosixPath(path).parent.name
    name = PurePosixPath(path).name
    if folder == PUBLISHED and name in reread():
        return Place(folder, REREADING), reread()[name]
    name = f"{parent}.csv" if name == f"{folder}.csv" else name  # NAME/MODEL.csv
    if name not in measured():
        raise ResultError(f"{path}: no table {name!r} is declared in introspection/experiments/*/tables.py")
    experiment, table = measured()[name]
    deeper = folder in models and PurePosixPath(path).parts[1] == folder and parent != folder
    return Place(folder, parent if deeper else experiment), table


def _bytes(results: Results, path: str) -> bytes:
    try:
        return (results.root / path).read_bytes()
    except OSError as error:
        remedy = f"make it with `dvc repro {results.stage(path)}`"
        raise ResultError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
