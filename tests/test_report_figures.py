"""Figures draw what the result files hold, hostile labels included, and the same bytes each time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from introspection.experiments.suffixes.figure import audit_figure, shift_figure
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from introspection.experiments.battery.figure import battery_figure
from introspection.experiments.battery.tables import FIT
from introspection.experiments.detection.figure import detection_figure
from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.lens.figure import lens_figure
from introspection.experiments.suffixes.tables import ASKED, AUDIT, INTERVALS
from introspection.experiments.sweep.figure import sweep_figure
from introspection.paper import figure_style
from introspection.paper.figure_style import Look
from introspection.paper.figures import draw_figures
from introspection.paper.pipeline import hash_of
from introspection.paper.prompts import Prompts
from introspection.paper.results import Results
from introspection.paper.summaries import with_shift
from introspection.stimuli.prompts import load_stimuli
from tests.synthetic_results import HOSTILE, REPOSITORY, settings, stages_of, write_project

STIMULI = load_stimuli(REPOSITORY / "data" / "prompts")
LOOK = Look(settings().figures, Prompts.of(STIMULI))


@pytest.fixture(autouse=True)
def _styled() -> Iterator[None]:
    with LOOK.style():
        yield


@given(st.text(st.characters(categories=None), max_size=20))
@hypothesis_settings(max_examples=60, deadline=None)
def test_any_label_can_be_drawn(text: str) -> None:
    figure = Figure(figsize=(1, 1))
    figure.text(0, 0, figure_style.figure_text(text))
    figure.canvas.draw()
    assert all(ord(character) in figure_style._characters() for character in figure_style.figure_text(text))


def test_labels_show_what_the_font_lacks_as_code_points() -> None:
    assert figure_style.figure_text("$a_1$ 猫\n\u202e") == r"\$a_1\$ U+732B⏎U+202E"


def test_detection_draws_every_shift(tmp_path: Path) -> None:
    study = settings()
    write_project(tmp_path, study)
    table = with_shift(Results(tmp_path).read(DETECTION, "organism"))
    figure = detection_figure([("organism", table)], LOOK)
    shifts, probabilities = figure.axes[:2]
    drawn = sorted(
        float(y)
        for line in shifts.lines
        for y in np.atleast_1d(line.get_ydata())
        if line.get_marker() in figure_style.MARKERS
    )
    assert drawn == pytest.approx(sorted(table["shift"]))
    drawn = sorted(float(y) for line in probabilities.lines for y in np.atleast_1d(line.get_ydata()))
    assert drawn == pytest.approx(sorted([*table["p_yes_base"], *table["p_yes_injected"]]))


def test_the_battery_draws_every_injection_with_its_interval(tmp_path: Path) -> None:
    write_project(tmp_path, settings())
    table = Results(tmp_path).read(FIT, "organism")
    (axis,) = battery_figure([("organism", table)], LOOK).axes
    marks = [line for line in axis.lines if line.get_marker() not in ("None", "", None)]
    drawn = sorted((float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in marks)
    np.testing.assert_allclose(drawn, sorted(zip(table["control_shift"], table["signed_shift"], strict=True)))
    assert sum(line.get_markerfacecolor() == "white" for line in marks) == (table["answers"] == "letters").sum()
    ends = sorted(tuple(lines.get_segments()[0][:, 1]) for lines in axis.collections)
    np.testing.assert_allclose(ends, sorted(zip(table["signed_low"], table["signed_high"], strict=True)))


def test_each_prompt_has_a_colour_of_its_own_wherever_it_is_drawn() -> None:
    more = Look(settings().figures, Prompts((*LOOK.prompts.names, "fifth"), "info", {}, {}))
    colors = [more.color(condition) for condition in more.prompts.conditions]
    assert len(set(colors)) == len(colors) == 6
    assert colors[:4] == [LOOK.color(prompt) for prompt in LOOK.prompts.names]
    assert more.color("of another study") not in colors


def test_the_sweep_has_first_layers_down_and_last_layers_across() -> None:
    rows = [
        {"vector": "cat", "prompt": "info", "first_layer": first, "last_layer": last, "p_yes": first / 10 + last / 100}
        for first in range(1, 4)
        for last in range(first, 4)
    ]
    figure = sweep_figure(pd.DataFrame(rows), (1, 2), (2, 3), LOOK)
    mesh = next(child for child in figure.axes[0].get_children() if isinstance(child, QuadMesh))
    grid = np.ma.filled(mesh.get_array(), np.nan).reshape(4, 4)
    assert grid[1, 3] == pytest.approx(0.13)
    assert grid[2, 3] == pytest.approx(0.23)
    assert np.isnan(grid[3, 1])


def test_the_audit_has_concepts_down_and_blocks_across_and_marks_where_the_rules_part(tmp_path: Path) -> None:
    write_project(tmp_path, settings())
    audit = Results(tmp_path).read(AUDIT, "organism")
    figure = audit_figure(audit, (2, 5), LOOK)
    for axis, column in zip(figure.axes, ("positive_share", "cosine_halves"), strict=False):
        mesh = next(child for child in axis.get_children() if isinstance(child, QuadMesh))
        grid = np.asarray(mesh.get_array()).reshape(2, 7)
        for (row, concept), block in itertools.product(enumerate(("cat", "bread")), range(1, 8)):
            (cell,) = audit[(audit["vector"] == concept) & (audit["block"] == block)][column]
            assert grid[row, block - 1] == pytest.approx(cell)
        crosses = [line for line in axis.lines if line.get_marker() == "x"]
        assert [(list(line.get_xdata()), list(line.get_ydata())) for line in crosses] == [([2, 2], [0, 1])]
        bounds = [float(np.asarray(line.get_xdata())[0]) for line in axis.lines if line.get_marker() != "x"]
        assert bounds == [1.5, 5.5]


def test_every_shift_under_other_suffixes_is_drawn(tmp_path: Path) -> None:
    write_project(tmp_path, settings())
    asked, intervals = (Results(tmp_path).read(table, "organism") for table in (ASKED, INTERVALS))
    figure = shift_figure(asked, intervals, "mean_sign", LOOK)
    drawn = sorted(
        float(y)
        for axis in figure.axes
        for line in axis.lines
        if line.get_linestyle() == "None"
        for y in np.atleast_1d(line.get_ydata())
    )
    assert drawn == pytest.approx(sorted([*with_shift(asked)["shift"], *intervals["shift"]]))


def test_hostile_vectors_and_tokens_can_be_drawn(tmp_path: Path) -> None:
    lens = pd.DataFrame(
        [
            {"vector": text, "scenario": "info", "layer": layer, "p_yes_base": 0.1, "p_yes_injected": 0.2}
            for text in HOSTILE
            for layer in range(3)
        ]
    )
    figure_style.save(lens_figure(lens, HOSTILE, (1, 2), {"info": "with info"}, LOOK), tmp_path / "lens")
    assert (tmp_path / "lens.pdf").stat().st_size > 1000


def test_the_same_results_give_the_same_figures(tmp_path: Path) -> None:
    study = settings()
    for name in ("one", "two"):
        write_project(tmp_path / name, study)
        results = Results(tmp_path / name, stages_of(study))
        draw_figures(study, STIMULI, results, tmp_path / name / "paper" / "figures")
    names = {path.name for path in (tmp_path / "one" / "paper" / "figures").iterdir()}
    assert {"detection.pdf", "detection.svg", "lens-organism.pdf", "lens-contrast-organism.pdf"} <= names
    assert {"sweep-organism-blind.pdf", "content-organism-blind.svg", "post-shifts.pdf", "sources.json"} <= names
    assert "lens-contrast-organism-blind.pdf" not in names
    assert hash_of(tmp_path / "one" / "paper" / "figures") == hash_of(tmp_path / "two" / "paper" / "figures")


def test_a_figure_of_a_model_that_left_the_study_is_gone(tmp_path: Path) -> None:
    study = settings()
    write_project(tmp_path, study)
    output = tmp_path / "figures"
    output.mkdir()
    (output / "lens-gone.pdf").write_text("old")
    draw_figures(study, STIMULI, Results(tmp_path, {}), output)
    assert sorted(path.name for path in output.iterdir()) == ["detection.pdf", "detection.svg", "sources.json"]
