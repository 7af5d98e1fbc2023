"""The companion's folder: its pages, and beside them the style, the scripts and the charts that they share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import vl_convert

from introspection.companion.files import Place, ResultFile, result_files
from introspection.companion.pages import Page, ShownTable, pages
from introspection.companion.rows import embedded
from introspection.files import whole
from introspection.paper.results import Results
from introspection.tables import Column, Table

HERE = Path(__file__).parent
CHARTS, SPECS = "charts.js", "specs.js"

INVENTORY = Table(
    "files",
    "Every file that these pages show: the stage that writes it, the checksum of its bytes, and what makes it anew.",
    ("file",),
    (
        Column("file", "text", "its path in the repository"),
        Column("stage", "text", "the stage of dvc.yaml that writes it"),
        Column("command", "text", "what makes it anew, where all that it depends on is there"),
        Column("bytes", "integer", "its size"),
        Column("sha256", "text", "the checksum of its bytes"),
    ),
)


class Specs:
    """The charts of all pages, each once: tables of one kind are drawn alike."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def name(self, spec: Any) -> str:
        """The name by which a page asks for a chart."""
        text = json.dumps(spec, separators=(",", ":"), allow_nan=False)
        return self._names.setdefault(text, f"chart-{len(self._names) + 1}")

    def script(self) -> str:
        """A script that knows them by their names."""
        charts = ",".join(f'"{name}":{text}' for text, name in self._names.items())
        return f"window.chartsOfTables={{{charts}}};\n"


@dataclass(frozen=True)
class Group:
    """Folders whose pages have the same names: models, or the organisms of the zoo."""

    title: str
    folders: list[str]
    names: list[str]


def write_companion(results: Results, models: Collection[str], output: Path) -> None:
    """Write the companion into the folder `output`, whole or not at all.

    Raises ResultError for a result file that is missing or not what is declared.
    """
    files = result_files(results, models)
    shown = pages(results, files)
    specs = Specs()
    jinja = environment(specs)
    with whole(output) as folder:
        shutil.copytree(HERE / "assets", folder / "assets")
        (folder / "assets" / CHARTS).write_text(charts_script(), encoding="utf-8")
        for page in shown:
            path = folder / page.place.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(render_page(jinja, page, shown), encoding="utf-8")
        index = jinja.get_template("index.html.j2").render(
            root="",
            groups=groups(shown, models),
            pages={page.place: page for page in shown},
            inventory=inventory(files),
        )
        (folder / "index.html").write_text(index, encoding="utf-8")
        (folder / "assets" / SPECS).write_text(specs.script(), encoding="utf-8")


def environment(specs: Specs) -> jinja2.Environment:
    """Templates in which every value is text, whatever it holds, and which leave their charts with `specs`."""
    jinja = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    jinja.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    jinja.filters["visible"] = visible
    jinja.globals |= {"place": Place, "specs": specs}
    return jinja


def render_page(jinja: jinja2.Environment, page: Page, among: Collection[Page]) -> str:
    """A page, with the ways to its neighbours: other pages of its folder, and the same of other folders."""
    return jinja.get_template("page.html.j2").render(
        root=page.root,
        page=page,
        siblings=[each for each in among if each.place.folder == page.place.folder],
        elsewhere=[each for each in among if each.place.name == page.place.name],
    )


def visible(text: str) -> str:
    """A text with its line breaks, tabs and other control characters to be seen; a line break still breaks the line."""
    marks = {"\n": "↵\n", "\r": "␍", "\t": "⇥"}
    return "".join(marks.get(each) or (each if each.isprintable() else f"\\u{ord(each):04x}") for each in text)


def groups(shown: Collection[Page], models: Collection[str]) -> list[Group]:
    """The pages by what they are of: the models first, then the other folders below `results`."""
    heads: dict[str, list[Page]] = {"models": []}
    for page in shown:
        head = "models" if page.place.folder in models else page.place.folder.split("/")[0]
        heads.setdefault(head, []).append(page)
    return [
        Group(
            head,
            list(dict.fromkeys(page.place.folder for page in among)),
            list(dict.fromkeys(page.place.name for page in among)),
        )
        for head, among in heads.items()
        if among
    ]


def inventory(files: Collection[ResultFile]) -> ShownTable:
    """The files as a table of their own."""
    rows = pd.DataFrame(
        [
            {"file": each.path, "stage": each.stage, "command": each.command, "bytes": each.size, "sha256": each.sha256}
            for each in files
        ],
        columns=[column.name for column in INVENTORY.columns],
    )
    whole_study = ResultFile("files", Place("", "index"), INVENTORY, "", "", 0)
    return ShownTable(whole_study, INVENTORY, embedded(INVENTORY, rows), None, None)


def charts_script() -> str:
    """Vega, Vega-Lite and vega-embed as one script that needs no network; its names stay its own."""
    return f"(() => {{\n{vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')}\n}})();\n"
