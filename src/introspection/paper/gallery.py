"""The folder of the paper's figures, with a record of what each was drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from introspection.paper.figure_style import FORMATS, Look, save
from introspection.paper.pipeline import Source
from introspection.paper.results import Results


class Gallery:
    """Draws into a folder, which it empties of earlier figures, and remembers what each figure was drawn from."""

    def __init__(self, results: Results, look: Look, output: Path) -> None:
        self.results = results
        self.look = look
        self.output = output
        self.sources: dict[str, list[Source]] = {}
        for suffix in FORMATS:
            for path in output.glob(f"*.{suffix}"):
                path.unlink()

    def add(self, name: str, figure: Figure, sources: Sequence[str]) -> None:
        """Save a figure under a name; `sources` are the paths of the files it shows."""
        save(figure, self.output / name)
        self.sources[f"{name}.pdf"] = [self.results.source(path) for path in sources]
