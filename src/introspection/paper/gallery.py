"""Which figures the paper has, and what each is drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from introspection.experiments.lens.report import concept_tokens
from introspection.experiments.sweep.report import chosen_range
from introspection.paper import figures
from introspection.paper import summaries as measures
from introspection.paper.models import Study, studies
from introspection.paper.render import write_sources
from introspection.paper.results import Results, Source
from introspection.rereading import published
from introspection.settings import Settings

POST_NAME = "Qwen2.5-Coder-32B (the post)"
SHIFTS = "results/published/shifts.csv"
SHIFT_NUMBERS = ("first_layer", "log_odds_shift", "log_odds_shift_low", "log_odds_shift_high", "p_yes_shift")


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
        for study in studies(settings):
            _lens(gallery, settings, study)
            _content(gallery, settings, study)
            _sweep(gallery, settings, study)
    write_sources(output, gallery.sources)


def _detection(gallery: Gallery, settings: Settings) -> None:
    """Detection in every model, below the post's; and the post's shifts by themselves."""
    results = gallery.results
    run = [study for study in studies(settings) if results.expects(study.path("detection.csv"))]
    tables = [(study.key, measures.with_shift(results.result(study.key, "detection.csv"))) for study in run]
    post = published.published_detection(results)
    sources = ["data/published/detection.csv", *(study.path("detection.csv") for study in run)]
    shifts = None
    if results.expects(SHIFTS):
        shifts = results.table(SHIFTS, ("vector", "prompt"), SHIFT_NUMBERS)
        gallery.add("post-shifts", figures.shifts_figure(shifts, settings.figures), [SHIFTS])
        sources.append(SHIFTS)
    measured = _as_measured(post[~post["swept"]], shifts)
    gallery.add("detection", figures.detection_figure([(POST_NAME, measured), *tables], settings.figures), sources)


def _lens(gallery: Gallery, settings: Settings, study: Study) -> None:
    path = study.path("lens.csv")
    if not gallery.results.expects(path):
        return
    lens = gallery.results.result(study.key, "lens.csv")
    random = measures.random_vectors(lens)
    means = lens[lens["vector"].isin(random)].groupby(["scenario", "layer"], as_index=False, sort=False)
    lens = pd.concat([lens, means[["p_yes_base", "p_yes_injected"]].mean().assign(vector="random")], ignore_index=True)
    concepts = [*settings.study.concepts, *(["random"] if random else [])]
    layers = study.model.layers
    gallery.add(f"lens-{study.key}", figures.lens_figure(lens, concepts, layers, settings.figures), [path])
    if study.contrast_vectors:
        figure = figures.lens_figure(lens, study.contrast_vectors, layers, settings.figures)
        gallery.add(f"lens-contrast-{study.key}", figure, [path])


def _content(gallery: Gallery, settings: Settings, study: Study) -> None:
    path = study.path("content.csv")
    if not gallery.results.expects(path):
        return
    content = gallery.results.result(study.key, "content.csv")
    tokens, shown = concept_tokens(gallery.results, settings, study)
    vectors = [*settings.study.concepts, *study.contrast_vectors]
    figure = figures.content_figure(content, vectors, tokens, study.model.layers, settings.figures)
    gallery.add(f"content-{study.key}", figure, [path, *shown])


def _sweep(gallery: Gallery, settings: Settings, study: Study) -> None:
    paths = [study.path("sweep.csv"), study.path("range.json")]
    if not all(gallery.results.expects(path) for path in paths):
        return
    sweep = gallery.results.result(study.key, "sweep.csv")
    chosen = chosen_range(gallery.results, study)
    gallery.add(f"sweep-{study.key}", figures.sweep_figure(sweep, study.model.layers, chosen, settings.figures), paths)


def _as_measured(post: pd.DataFrame, shifts: pd.DataFrame | None) -> pd.DataFrame:
    """The post's figures in the columns of our tables, with what their rounding leaves open where it was computed."""
    base, injected = (post[f"p_yes_{arm}_bf16"].astype(float) for arm in ("base", "injected"))
    shift = np.log(injected / (1 - injected)) - np.log(base / (1 - base))
    post = post.assign(p_yes_base=base, p_yes_injected=injected, shift=shift)
    if shifts is None:
        return post
    ends = {"log_odds_shift_low": "shift_low", "log_odds_shift_high": "shift_high"}
    keys = ["vector", "prompt", "first_layer"]
    return post.merge(shifts.rename(columns=ends)[[*keys, *ends.values()]], on=keys, how="left", validate="1:1")
