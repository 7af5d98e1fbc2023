"""Figures draw what the result files hold, hostile labels included, and the same bytes each time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from introspection import names
from introspection.experiments.battery.figure import battery_figure
from introspection.experiments.battery.tables import FIT
from introspection.experiments.detection.figure import Cells, arrows_of, detection_figure
from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.lens.figure import Curves, lens_figure
from introspection.experiments.sweep.figure import Sweep, sweep_figure
from introspection.paper import figure_style
from introspection.paper.figure_style import Look
from introspection.paper.figures import draw_figures
from introspection.paper.prompts import Prompts
from introspection.paper.results import Results
from introspection.stimuli.prompts import load_stimuli
from tests.synthetic_results import HOSTILE, REPOSITORY, settings, write_project

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


def test_an_arrow_for_every_concept_and_the_floor_below_it(tmp_path: Path) -> None:
    study = settings()
    write_project(tmp_path, study)
    table = Results(tmp_path).read(DETECTION, "organism")
    cells = Cells("organism", "controls right: 100%", table.assign(injected_low=-9.0, injected_high=-8.0))
    (axis,) = detection_figure([cells], ["info", "lorem_ipsum"], LOOK).axes
    ends = {
        (round(float(line.get_xdata()[0]), 6), round(float(line.get_xdata()[1]), 6))
        for line in axis.lines
        if len(line.get_xdata()) == 2 and line.get_linestyle() == "None"
    }
    kinds = table["vector"].map(names.kind_of)
    shown = table[(kinds == "concept") & table["prompt"].isin(["info", "lorem_ipsum"])]
    expected = {
        (round(row["log_odds_yes_base"], 6), round(row["log_odds_yes_injected"], 6)) for row in shown.to_dict("records")
    }
    assert expected <= ends
    random = table[(kinds == "random") & (table["prompt"] == "info")]["log_odds_yes_injected"]
    floor = next(arrow for arrow in arrows_of(table, "info") if arrow.floor)
    assert (floor.injected, floor.low, floor.high) == pytest.approx((random.mean(), random.min(), random.max()))
    bars = [tuple(segment[:, 0]) for lines in axis.collections for segment in lines.get_segments()]
    assert bars.count((-9.0, -8.0)) == len(shown)


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
        {"first_layer": first, "last_layer": last, "log_odds_yes": first / 10 + last / 100}
        for first in range(1, 4)
        for last in range(first, 4)
    ]
    figure = sweep_figure([Sweep("m", pd.DataFrame(rows), (1, 2), (2, 3), base=-1.0)], LOOK)
    mesh = next(child for child in figure.axes[0].get_children() if isinstance(child, QuadMesh))
    grid = np.ma.filled(mesh.get_array(), np.nan).reshape(4, 4)
    assert grid[1, 3] == pytest.approx(1.13)
    assert grid[2, 3] == pytest.approx(1.23)
    assert np.isnan(grid[3, 1])


def test_a_scale_never_magnifies_nothing() -> None:
    """A model that hardly moves has pale colours, and axes as wide as half a nat."""
    table = pd.DataFrame([{"first_layer": 1, "last_layer": 1, "log_odds_yes": 0.01}])
    figure = sweep_figure([Sweep("m", table, (1, 1), (1, 1), base=0.0)], LOOK)
    mesh = next(child for child in figure.axes[0].get_children() if isinstance(child, QuadMesh))
    assert mesh.get_clim() == (-1.0, 1.0)


def test_hostile_vectors_and_tokens_can_be_drawn(tmp_path: Path) -> None:
    lens = pd.DataFrame(
        [
            {"vector": text, "scenario": "info", "layer": layer, "p_yes_base": 0.1, "p_yes_injected": 0.2}
            for text in HOSTILE
            for layer in range(3)
        ]
    )
    figure_style.save(lens_figure([Curves(text, lens, (1, 2)) for text in HOSTILE], LOOK), tmp_path / "lens")
    assert (tmp_path / "lens.pdf").stat().st_size > 1000


def test_a_figure_of_a_model_that_left_the_study_is_gone(tmp_path: Path) -> None:
    study = settings()
    write_project(tmp_path, study)
    output = tmp_path / "figures"
    output.mkdir()
    (output / "lens-gone.pdf").write_text("old")
    draw_figures(study, STIMULI, Results(tmp_path, {}), output)
    assert sorted(path.name for path in output.iterdir()) == ["detection.pdf", "detection.svg", "sources.json"]
