"""Rendering templates into files, with a record of what each file was made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from introspection.files import write_json, write_text
from introspection.paper.latex import Latex, environment
from introspection.paper.pipeline import Source
from introspection.paper.prompts import Prompts
from introspection.paper.results import Results
from introspection.stimuli.prompts import Stimuli


class Renderer:
    """Renders templates into a folder, which it empties of earlier tables, and remembers what each was made of."""

    def __init__(self, results: Results, stimuli: Stimuli, templates: Path, output: Path) -> None:
        self.results = results
        self.stimuli = stimuli
        self.prompts = Prompts.of(stimuli)
        self.output = output
        self.jinja = environment(templates)
        self.jinja.filters.update(raw_name=raw_name, prompt_label=self.prompts.label)
        for path in output.glob("*.tex"):
            path.unlink()
        self.sources: dict[str, list[Source]] = {}

    def render(self, template: str, name: str, sources: Iterable[str], **context: Any) -> str:
        """Write `name`.tex from a template; `sources` are the paths of the result files it shows. Returns its path."""
        path = self.output / f"{name}.tex"
        write_text(path, self.jinja.get_template(f"{template}.tex.j2").render(context))
        self.sources[path.name] = [self.results.source(source) for source in sources]
        return Latex(f"tables/{name}")

    def phrase(self, template: str, **context: Any) -> Latex:
        """A part of a sentence, rendered from a template, as a value of the prose; it has no line breaks."""
        return Latex(" ".join(self.jinja.get_template(f"{template}.tex.j2").render(context).split()))


def raw_name(name: str) -> Latex:
    """A value's name, which LaTeX reads as a name and not as text. Raises ValueError for one that could be more."""
    if not re.fullmatch(r"[\w.-]+", name, flags=re.ASCII):
        raise ValueError(f"{name!r} cannot name a value of the paper: use letters, digits, '.', '-' and '_'")
    return Latex(name)


def write_sources(folder: Path, sources: Mapping[str, list[Source]]) -> None:
    """Write `sources.json`: by file of the folder, the result files that it was made of."""
    content = {name: [vars(source) for source in files] for name, files in sources.items()}
    write_json(folder / "sources.json", content)
