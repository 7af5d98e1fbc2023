"""The paper put together: prose, tables and figures in one folder, checked and built."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from introspection.files import read_json, whole
from introspection.paper.checks import check_claims, check_prose, unread_results, unshown, unused_values
from introspection.paper.latex import environment
from introspection.paper.latexmk import build_pdf
from introspection.paper.pipeline import hash_of

MAIN = "paper.tex"
MADE = {"figures": "pdf", "tables": "tex"}  # by stage, and folder of the paper, the files that LaTeX reads


class PaperError(ValueError):
    """The paper says something it should not, or leaves something out; a line for each."""


def build_paper(paper: Path, output: Path, results: Iterable[str]) -> None:
    """Check and build the paper in the folder `paper` and write the PDF to `output`.

    results: the result files that the pipeline writes, as paths; each must have gone into a figure or a table.
    Raises PaperError for what the checks find and BuildError where LaTeX fails.
    """
    sources = {stage: _sources(paper / stage) for stage in MADE}
    prose = [paper / MAIN, *sorted((paper / "sections").glob("*.tex")), *sorted((paper / "templates").glob("*.j2"))]
    used = {
        f"{stage}/{name}": [source["path"] for source in files]
        for stage in MADE
        for name, files in sources[stage].items()
    }
    values = paper / "tables" / "values.tex"
    tables = [path for path in sorted(values.parent.glob("*.tex")) if path != values]
    complaints = [
        *check_prose(prose),
        *check_claims(prose),
        *unread_results(results, used),
        *unused_values(values, [*prose, *tables, paper / "preamble.tex"]),
    ]
    if complaints:
        raise PaperError("\n".join(complaints))
    with tempfile.TemporaryDirectory(prefix="paper-") as temporary:
        folder = Path(temporary)
        _assemble(paper, folder, sources)
        built = build_pdf(folder, MAIN)
        made = [
            path.relative_to(folder) for stage, suffix in MADE.items() for path in (folder / stage).glob(f"*.{suffix}")
        ]
        if forgotten := unshown(made, built.inputs):
            raise PaperError("\n".join(forgotten))
        with whole(output) as unfinished:
            shutil.copyfile(built.pdf, unfinished)


def _sources(folder: Path) -> dict[str, list[dict[str, str]]]:
    """By figure or table, the result files that it was made of."""
    remedy = f"make it with `dvc repro {folder.name}`"
    return read_json(folder / "sources.json", dict[str, list[dict[str, str]]], remedy)


def _assemble(paper: Path, folder: Path, sources: Mapping[str, Mapping[str, Any]]) -> None:
    """Copy what LaTeX reads, and render what only now is known: the hashes of figures and tables, and their origins."""
    for name in (MAIN, "preamble.tex", "references.bib"):
        shutil.copyfile(paper / name, folder / name)
    shutil.copytree(paper / "sections", folder / "sections")
    for stage, suffix in MADE.items():
        (folder / stage).mkdir()
        for path in sorted((paper / stage).glob(f"*.{suffix}")):
            shutil.copyfile(path, folder / stage / path.name)
    jinja = environment(paper / "templates")
    hashes = {stage: hash_of(paper / stage) for stage in MADE}
    made = [
        (f"{stage}/{name}", hash_of(paper / stage / name)[:8], stage, files)
        for stage in MADE
        for name, files in sources[stage].items()
        if files
    ]
    for name, context in (("provenance", {"hashes": hashes}), ("sources", {"made": made, "hashes": hashes})):
        content = jinja.get_template(f"{name}_made.tex.j2").render(context)
        (folder / f"{name}.tex").write_text(content, encoding="utf-8")
