"""The paper's figures, drawn from result files by the experiments' reports."""

from __future__ import annotations

from pathlib import Path

from introspection.paper.figure_style import Look
from introspection.paper.gallery import Gallery
from introspection.paper.prompts import Prompts
from introspection.paper.render import write_sources
from introspection.paper.reports import report_functions
from introspection.paper.results import Results
from introspection.settings import Settings
from introspection.stimuli.prompts import Stimuli


def draw_figures(settings: Settings, stimuli: Stimuli, results: Results, output: Path) -> None:
    """Draw every figure of the paper, as PDF and SVG, and `sources.json`.

    Experiments that no stage runs have no figure. Raises ResultError for a result file that should be there.
    """
    gallery = Gallery(results, Look(settings.figures, Prompts.of(stimuli)), output)
    with gallery.look.style():
        for figures_of_all in report_functions("figures_of_all"):
            figures_of_all(gallery, settings)
    write_sources(output, gallery.sources)
