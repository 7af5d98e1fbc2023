"""The paper put together: prose, tables and figures in one folder, checked and built."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from introspection.files import read_json, whole
from introspection.paper.checks import check_claims, check_prose, unshown, unused_values
from introspection.paper.latex import environment
from introspection.paper.latexmk import build_pdf
from introspection.paper.pipeline import Source, hash_of
from introspection.paper.provenance import versions

MAIN = "paper.tex"
WRITTEN = (MAIN, "preamble.tex", "diagram.tex", "references.bib")
MADE = {"figures": "pdf", "tables": "tex"}  # by stage, and folder of the paper, the files that LaTeX reads


class PaperError(ValueError):
    """The paper says something it should not, or leaves something out; a line for each."""


def build_paper(paper: Path, output: Path) -> None:
    """Check and build the paper in the folder `paper` and write the PDF to `output`.

    Raises PaperError for what the checks find and BuildError where LaTeX fails.
    """
    sources = {stage: _sources(paper / stage) for stage in MADE}
    prose = [paper / MAIN, *sorted((paper / "sections").glob("*.tex")), *sorted((paper / "templates").glob("*.j2"))]
    values = paper / "tables" / "values.tex"
    tables = [path for path in sorted(values.parent.glob("*.tex")) if path != values]
    complaints = [
        *check_prose(prose),
        *check_claims(prose),
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


def _sources(folder: Path) -> dict[str, list[Source]]:
    """By figure or table, the result files that it was made of."""
    remedy = f"make it with `dvc repro {folder.name}`"
    return read_json(folder / "sources.json", dict[str, list[Source]], remedy)


def _assemble(paper: Path, folder: Path, sources: Mapping[str, Mapping[str, list[Source]]]) -> None:
    """Copy what LaTeX reads, and render what only now is known: the hashes of figures and tables, and their origins."""
    for name in WRITTEN:
        shutil.copyfile(paper / name, folder / name)
    shutil.copytree(paper / "sections", folder / "sections")
    for stage, suffix in MADE.items():
        (folder / stage).mkdir()
        for path in sorted((paper / stage).glob(f"*.{suffix}")):
            shutil.copyfile(path, folder / stage / path.name)
    hashes = {stage: hash_of(paper / stage) for stage in MADE}
    made = [
        (
            f"{stage}/{name}",
            list(dict.fromkeys((source.stage or source.path).partition("@")[0] for source in files)),
        )
        for stage in MADE
        for name, files in sources[stage].items()
        if files
    ]
    used = ", ".join(f"{name} {version}" for name, version in versions())
    template = environment(paper / "templates").get_template("sources_made.tex.j2")
    (folder / "sources.tex").write_text(template.render(made=made, hashes=hashes, versions=used), encoding="utf-8")
