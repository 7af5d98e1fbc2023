"""The paper put together: prose, tables and figures in one folder, checked and built."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from introspection.paper.checks import check_prose, unread_results, unshown
from introspection.paper.latex import environment
from introspection.paper.latexmk import BuildError, build_pdf
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
        f"{stage}/{name}": [source["path"] for source in found]
        for stage in MADE
        for name, found in sources[stage].items()
    }
    complaints = [*check_prose(prose), *unread_results(results, used)]
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
        output.parent.mkdir(parents=True, exist_ok=True)
        unfinished = output.with_name(output.name + ".unfinished")
        shutil.copyfile(built.pdf, unfinished)
        unfinished.replace(output)


def _sources(folder: Path) -> dict[str, list[dict[str, str]]]:
    """By figure or table, the result files that it was made of."""
    path = folder / "sources.json"
    try:
        content: dict[str, list[dict[str, str]]] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BuildError(f"{path}: cannot be read; make it with `dvc repro {folder.name}`") from error
    return content


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
        (f"{stage}/{name}", hash_of(paper / stage / name)[:8], stage, found)
        for stage in MADE
        for name, found in sources[stage].items()
        if found
    ]
    for name, context in (("provenance", {"hashes": hashes}), ("sources", {"made": made, "hashes": hashes})):
        content = jinja.get_template(f"{name}_made.tex.j2").render(context)
        (folder / f"{name}.tex").write_text(content, encoding="utf-8")
