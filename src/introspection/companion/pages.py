"""Pages put together from result files: tables with charts, settings and findings in JSON, prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from introspection.companion.charts import chart
from introspection.companion.files import OVERVIEW, Place, ResultFile
from introspection.companion.passages import Passage, passages
from introspection.companion.rows import embedded
from introspection.experiments.prompt_text.tables import PROMPT_TEXT
from introspection.paper.results import Results
from introspection.tables import Table

_TEXT = 80  # characters on average: text that is read, side by side


@dataclass(frozen=True)
class ShownTable:
    """A table on a page. columns: as they are embedded. spec: its chart. prose: the column whose text is to be read."""

    file: ResultFile
    table: Table
    columns: list[dict[str, Any]]
    spec: dict[str, Any] | None
    prose: str | None

    @property
    def id(self) -> str:
        """What tells it apart on its page."""
        return element_id(self.file)


@dataclass(frozen=True)
class ShownValues:
    """A JSON file on a page, flat."""

    file: ResultFile
    values: list[tuple[str, str]]

    @property
    def id(self) -> str:
        """What tells it apart on its page."""
        return element_id(self.file)


@dataclass
class Page:
    """A page, and what it shows."""

    place: Place
    tables: list[ShownTable] = field(default_factory=list)
    values: list[ShownValues] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What it is called."""
        return "overview" if self.place.name == OVERVIEW else self.place.name.replace("_", " ")

    @property
    def root(self) -> str:
        """The way from it to the companion's folder."""
        return "../" * self.place.path.count("/")

    @property
    def about(self) -> str:
        """What its first table is."""
        return self.tables[0].table.about if self.tables else "What was measured, and how it was set."


def pages(results: Results, files: Sequence[ResultFile]) -> list[Page]:
    """The pages that show these files, in the order of their first files. Raises ResultError for a broken file."""
    found: dict[Place, Page] = {}
    for file in files:
        page = found.setdefault(file.place, Page(file.place))
        if file.table is None:
            page.values.append(ShownValues(file, flatten(results.json(file.path, dict[str, Any]))))
        else:
            rows = results.table(file.table, file.path)
            page.tables.append(
                ShownTable(
                    file, file.table, embedded(file.table, rows), chart(file.table, rows), _prose(file.table, rows)
                )
            )
            if file.table == PROMPT_TEXT:
                page.passages = passages(rows)
    return list(found.values())


def element_id(file: ResultFile) -> str:
    """A name for a file in the addresses of its page."""
    return PurePosixPath(file.path).name.replace(".", "-")


def _prose(table: Table, rows: Any) -> str | None:
    """The column of a reply or another text that no row is told apart by, where there is one."""
    texts = [each.name for each in table.columns if each.kind == "text" and each.name not in table.key]
    return next((name for name in texts if len(rows) and rows[name].str.len().mean() > _TEXT), None)


def flatten(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested values as (dotted name, text) pairs; a list of plain values is one text."""
    if isinstance(value, Mapping):
        return [pair for key, part in value.items() for pair in flatten(part, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list | tuple) and not any(isinstance(part, Mapping | list | tuple) for part in value):
        return [(name, ", ".join(map(str, value)))]
    if isinstance(value, list | tuple):
        return [pair for index, part in enumerate(value) for pair in flatten(part, f"{name}.{index}")]
    return [(name, "none" if value is None else str(value))]
