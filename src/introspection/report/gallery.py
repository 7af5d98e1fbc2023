"""Which figures the paper has, and what each is drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from introspection.config import Settings
from introspection.report import figures, measures, published
from introspection.report.results import Results, Source
from introspection.report.tables import write_sources

POST_NAME = "Qwen2.5-Coder-32B (the post)"


class Gallery:
    """Draws into a folder, which it empties of earlier figures, and remembers what each figure was drawn from."""

    def __init__(self, results: Results, output: Path) -> None:
        self.results = results
        self.output = output
        self.sources: dict[str, list[Source]] = {}
        for suffix in figures.FORMATS:
            for path in output.glob(f"*.{suffix}"):
                path.unlink()

    def add(self, name: str, figure: Figure, sources: Sequence[str]) -> None:
        """Save a figure under a name; `sources` are the paths of the files it shows."""
        figures.save(figure, self.output / name)
        self.sources[f"{name}.pdf"] = [self.results.source(path) for path in sources]


def draw_figures(settings: Settings, results: Results, output: Path) -> None:
    """Draw every figure of the paper, as PDF and SVG, and `sources.json`.

    Experiments that no stage runs have no figure. Raises ResultError for a result file that should be there.
    """
    gallery = Gallery(results, output)
    with figures.style(settings.figures):
        _detection(gallery, settings)
    write_sources(output, gallery.sources)


def _detection(gallery: Gallery, settings: Settings) -> None:
    paths = {key: f"results/{key}/detection.csv" for key in settings.study.models}
    run = {key: path for key, path in paths.items() if gallery.results.expects(path)}
    tables = [(key, measures.with_shift(gallery.results.result(key, "detection.csv"))) for key in run]
    post = published.published_detection(gallery.results)
    figure = figures.detection_figure([(POST_NAME, _as_measured(post[~post["swept"]])), *tables], settings.figures)
    gallery.add("detection", figure, ["data/published/detection.csv", *run.values()])


def _as_measured(post: pd.DataFrame) -> pd.DataFrame:
    """The post's figures in the columns of our tables, the shift computed from the probabilities as printed."""
    base, injected = (post[f"p_yes_{arm}_bf16"].astype(float) for arm in ("base", "injected"))
    shift = np.log(injected / (1 - injected)) - np.log(base / (1 - base))
    return post.assign(p_yes_base=base, p_yes_injected=injected, shift=shift)
