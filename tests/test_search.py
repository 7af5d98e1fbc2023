"""The search from coarse to fine: what it finds, and what it costs beside the study's procedure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from introspection.engine.trial import Injection, Trial
from introspection.engine.work import block_evaluations
from introspection.experiments.sweep.choice import choose_range, replay_search
from introspection.experiments.sweep.measure import layer_ranges, sweep_layers
from introspection.experiments.sweep.search import Range, coarse_to_fine, leaders
from introspection.injection.dose import Guide
from introspection.injection.vectors import random_vectors
from introspection.stimuli.prompts import Stimuli
from introspection.tables import csv_text
from tests.small_models import load, save_model


class Landscape:
    """Counts what is measured of a function of ranges, and what the engine would compute for it."""

    def __init__(self, blocks: int, height: object) -> None:
        self.blocks, self.height, self.measured, self.evaluations = blocks, height, [], 0

    def __call__(self, ranges: Sequence[Range]) -> dict[Range, float]:
        assert len(set(ranges)) == len(ranges) and not set(ranges) & set(self.measured), "measured twice"
        self.measured += ranges
        rows = [Trial(tuple(range(10)), (0, 5), (Injection("v", 1.0, *found),)) for found in ranges]
        self.evaluations += block_evaluations(rows, self.blocks, tokens_per_batch=10 * 21)
        return {found: self.height(found) for found in ranges}


@st.composite
def summits(draw: st.DrawFn) -> tuple[int, Range]:
    blocks = draw(st.integers(3, 80))
    first = draw(st.integers(1, blocks - 1))
    return blocks, (first, draw(st.integers(first, blocks - 1)))


@pytest.mark.parametrize(
    ("blocks", "points"),
    [
        (3, [1, 2]),
        (8, [1, 3, 5, 7]),
        (9, [1, 3, 5, 7, 8]),
        (24, list(range(1, 24, 2))),
        (25, [*range(1, 25, 3), 24]),
        (64, [*range(1, 64, 6), 63]),
    ],
)
def test_it_begins_with_a_grid_of_a_dozen_points_a_side(blocks: int, points: list[int]) -> None:
    asked: list[list[Range]] = []

    def flat(ranges: Sequence[Range]) -> dict[Range, float]:
        asked.append(list(ranges))
        return dict.fromkeys(ranges, 0.0)

    coarse_to_fine(blocks, flat)
    assert asked[0] == [(first, last) for first in points for last in points if first <= last]


def test_steps_are_halved_around_the_three_best_where_nothing_is_better() -> None:
    """Of 64 blocks, by hand: a grid of every 6th; all its values are equal, so the shortest and first lead."""
    asked: list[set[Range]] = []

    def flat(ranges: Sequence[Range]) -> dict[Range, float]:
        asked.append(set(ranges))
        return dict.fromkeys(ranges, 0.0)

    coarse_to_fine(64, flat)
    around_1 = {(1, 4), (4, 4)}  # three before and after, of (1, 1), (7, 7) and (13, 13)
    around_7_and_13 = {(4, 7), (4, 10), (7, 10), (10, 10), (10, 13), (10, 16), (13, 16), (16, 16)}
    assert asked[1] == around_1 | around_7_and_13
    around_1 = {(1, 2), (2, 2)}  # one before and after, of (1, 1), (4, 4) and (7, 7)
    around_4_and_7 = {(3, 3), (3, 4), (3, 5), (4, 5), (5, 5), (6, 6), (6, 7), (6, 8), (7, 8), (8, 8)}
    assert asked[2] == around_1 | around_4_and_7
    assert len(asked) == 3


def test_leaders_are_the_three_best_that_start_late_enough() -> None:
    values = {(1, 9): 9.0, (5, 6): 1.0, (4, 7): 1.0, (3, 4): 1.0, (2, 3): 0.5, (6, 6): -1.0, (7, 8): 1.0}
    assert leaders(values, 2) == [(3, 4), (5, 6), (7, 8)]
    assert leaders(values, 1) == [(1, 9), (3, 4), (5, 6)]
    assert leaders(values, 6) == [(7, 8), (6, 6)]


@given(summits())
def test_a_single_summit_is_found_exactly(case: tuple[int, Range]) -> None:
    blocks, summit = case
    landscape = Landscape(blocks, lambda found: -math.dist(found, summit))
    values = coarse_to_fine(blocks, landscape)
    assert max(values, key=values.__getitem__) == summit
    assert set(values) == set(landscape.measured) <= set(layer_ranges(blocks))


@given(summits(), st.data())
def test_only_ranges_that_start_late_enough_lead(case: tuple[int, Range], data: st.DataObject) -> None:
    blocks, summit = case
    earliest = data.draw(st.integers(1, summit[0]))
    landscape = Landscape(blocks, lambda found: -math.dist(found, summit) if found[0] >= earliest else 99.0)
    values = coarse_to_fine(blocks, landscape, earliest)
    late_enough = {found: value for found, value in values.items() if found[0] >= earliest}
    if late_enough:
        assert max(late_enough, key=late_enough.__getitem__) == summit


@pytest.mark.parametrize("summit", [(5, 60), (18, 33), (21, 42), (30, 31), (50, 60), (2, 9)])
def test_at_64_blocks_it_computes_a_fortieth_of_the_studys_procedure(summit: Range) -> None:
    """The procedure makes a pass of 64 blocks for each of 2,016 ranges with the injection, and one without."""
    landscape = Landscape(64, lambda found: -math.dist(found, summit))
    coarse_to_fine(64, landscape)
    assert 40 * landscape.evaluations < 2016 * 2 * 64


def test_a_swept_model_gives_the_values_of_all_ranges(tokenizer: Tokenizer, stimuli: Stimuli, tmp_path: Path) -> None:
    """With ten blocks, so that a search does not read every range."""
    model = load(save_model(tmp_path / "deep", "llama", tokenizer, num_hidden_layers=10))
    given_directions = {name: vector.directions for name, vector in random_vectors(model, 2, seed=3)}
    strengths = {"random_1": 4.0, "random_2": 2.0}
    conversations = {prompt: stimuli.detection[prompt] for prompt in ("no_info", "info")}

    def sweep(guide: Guide | None) -> object:
        return sweep_layers(model, stimuli, conversations, strengths, given_directions, guide=guide)

    every = sweep(None)
    guide = Guide("random_2", "info", 0.2)
    some = sweep(guide)
    keys = ["vector", "prompt", "strength", "first_layer", "last_layer"]
    both = some.merge(every, on=keys, suffixes=("", "_every"))
    assert len(both) == len(some) < len(every)
    assert (both["log_odds_yes"] - both["log_odds_yes_every"]).abs().max() < 1e-5
    assert csv_text(sweep(guide)) == csv_text(some)

    with pytest.raises(ValueError) as error:
        choose_range(some[some["first_layer"] != 1], guide.vector, guide.prompt, 0.0, "coarse_to_fine")
    assert str(error.value) == (
        "the search from coarse to fine was led by another rule than 'random_2' under 'info' from 0 of the depth on: "
        "[1, 1] is not measured; run the stage `sweep` again"
    )
    chosen = choose_range(some, guide.vector, guide.prompt, 0.2, "coarse_to_fine")
    best = choose_range(every, guide.vector, guide.prompt, 0.2)
    assert (chosen.mode, best.mode) == ("coarse_to_fine", "exhaustive")
    assert "coarse to fine" in chosen.rule and chosen.candidates < best.candidates
    assert chosen.log_odds_yes <= best.log_odds_yes + 1e-5


@given(st.integers(3, 24), st.randoms(use_true_random=False), st.floats(0, 0.6))
def test_a_replayed_search_is_the_search(blocks: int, random: Random, earliest: float) -> None:
    """Against the search itself in the same answers, and the distance against the best of all by brute force."""
    answers = {found: random.uniform(-5, 5) for found in layer_ranges(blocks)}
    keys = [{"vector": "cat", "prompt": "info", "first_layer": a, "last_layer": b} for a, b in answers]
    table = pd.DataFrame(keys).assign(log_odds_yes=list(answers.values()))
    landscape = Landscape(blocks, answers.__getitem__)
    start = math.ceil(earliest * blocks)
    read = coarse_to_fine(blocks, landscape, start)
    late = [found for found in answers if start <= found[0] < blocks - 1]  # the last block alone is no candidate
    assume(late)
    chosen = max((found for found in read if found in late), key=lambda f: (answers[f], f[0] - f[1], -f[0]))
    replay = replay_search(table, Guide("cat", "info", earliest))
    assert (replay.first_layer, replay.last_layer) == chosen
    assert replay.measured == len(landscape.measured)
    assert replay.behind == pytest.approx(max(answers[found] for found in late) - answers[chosen])
