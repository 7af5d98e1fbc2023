"""The layer sweep against brute force, its restart after a kill, and the choice of a range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch

from introspection.engine import executor
from introspection.engine.batches import plan_batches
from introspection.engine.kept import kept_in
from introspection.engine.reading import Reading, read
from introspection.engine.trial import Injection, Trial
from introspection.engine.work import block_evaluations
from introspection.experiments.sweep.choice import SweepMode, choose_range, led_by
from introspection.experiments.sweep.measure import layer_ranges, sweep_layers
from introspection.injection.dose import ChosenRange, Guide
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel
from introspection.stimuli.prompts import Stimuli
from introspection.tables import csv_text
from tests.reference import two_phase_logits
from tests.small_models import load

STRENGTHS = {"random_1": 4.0, "random_2": 2.0}
PROMPTS = ("info", "no_info")


def directions(model: LanguageModel, seed: int = 3) -> dict:
    return {name: vector.directions for name, vector in random_vectors(model, 2, seed)}


def swept(model: LanguageModel, stimuli: Stimuli, seed: int = 3, **options: object) -> pd.DataFrame:
    conversations = {prompt: stimuli.detection[prompt] for prompt in PROMPTS}
    return sweep_layers(model, stimuli, conversations, STRENGTHS, directions(model, seed), **options)


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_every_range_equals_the_two_phase_procedure(folders: dict[str, Path], stimuli: Stimuli, family: str) -> None:
    model = load(folders[family])
    vectors = dict(random_vectors(model, 2, seed=3))
    table = swept(model, stimuli, tokens_per_batch=4000)
    assert list(table.columns) == [
        "vector", "prompt", "strength", "first_layer", "last_layer", "p_yes", "log_odds_yes",
    ]  # fmt: skip
    ranges = [(i, j) for i in range(1, 5) for j in range(1, 5) if i <= j]
    keys = [(v, p, s, i, j) for v, s in STRENGTHS.items() for p in PROMPTS for i, j in ranges]
    assert list(table.iloc[:, :5].itertuples(index=False, name=None)) == keys
    yes = model.token(stimuli.yes)
    for row in table.itertuples():
        layers = (row.first_layer, row.last_layer)
        logits = two_phase_logits(model, stimuli.detection[row.prompt], vectors[row.vector], row.strength, layers)
        expected = float(torch.softmax(logits.double(), -1)[yes])
        assert row.p_yes == pytest.approx(expected, abs=1e-5, rel=1e-4)
        assert row.log_odds_yes == pytest.approx(math.log(expected / (1 - expected)), abs=1e-5)
    assert table.groupby(["vector", "prompt"])["log_odds_yes"].nunique().min() > 5, "ranges differ"


def test_a_killed_sweep_goes_on_with_the_same_bytes(
    qwen2: LanguageModel, stimuli: Stimuli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = csv_text(swept(qwen2, stimuli, tokens_per_batch=1500))
    ran: list[int] = []

    def until_killed(model: LanguageModel, reading: Reading) -> torch.Tensor:
        if len(ran) == 5:
            raise KeyboardInterrupt
        ran.append(len(reading.batch.rows))
        return read(model, reading)

    monkeypatch.setattr(executor, "read", until_killed)
    with pytest.raises(KeyboardInterrupt), kept_in(tmp_path, "a"):
        swept(qwen2, stimuli, tokens_per_batch=1500)
    assert len(list(tmp_path.iterdir())) == 5
    for path in tmp_path.iterdir():
        path.with_name(f"{'0' * 64}.safetensors.unfinished").write_bytes(path.read_bytes()[:99])  # killed while writing

    def counted(model: LanguageModel, reading: Reading) -> torch.Tensor:
        ran.append(len(reading.batch.rows))
        return read(model, reading)

    monkeypatch.setattr(executor, "read", counted)
    with kept_in(tmp_path, "a"):
        assert csv_text(swept(qwen2, stimuli, tokens_per_batch=1500)) == whole
        assert sum(ran) == 40 and len(ran) > 6, "no batch is run twice"
        assert csv_text(swept(qwen2, stimuli, tokens_per_batch=1500)) == whole
        assert sum(ran) == 40, "all of it was there"
    assert not tmp_path.exists(), "what has ended well needs no copy"


def test_running_batch_by_batch_costs_nothing_more() -> None:
    """At the study's 64 blocks, each kept batch shares as much alone as it does within one run of the engine."""
    trials = [
        Trial(tuple(range(760)), (10, 700), (Injection(vector, 20.0, first, last),))
        for vector in ("cat", "bread")
        for first, last in layer_ranges(64)
    ]
    assert len(trials) == 2 * 2016
    whole = block_evaluations(trials, 64, 16384)
    batches = plan_batches(trials, 64, 16384)
    parts = [block_evaluations([trials[row] for row in batch.rows], 64, 16384) for batch in batches]
    assert len(parts) > 100 and sum(parts) == whole


def table(rows: list[tuple[int, int, float]]) -> pd.DataFrame:
    found = pd.DataFrame(rows, columns=["first_layer", "last_layer", "log_odds_yes"])
    found["p_yes"] = [1 / (1 + math.exp(-value)) for value in found["log_odds_yes"]]
    return found.assign(vector="cat", prompt="info", strength=4.0)


def test_the_best_range_that_starts_late_enough_is_chosen() -> None:
    rows = [(i, j, 10.0 - i + 0.1 * j) for i in range(1, 8) for j in range(i, 8)]
    sweep = pd.concat([table(rows), table([(5, 5, 99.0)]).assign(vector="bread")])
    found = choose_range(sweep, "cat", "info", 0.25)
    assert (found.first_layer, found.last_layer) == (2, 7)
    assert found.log_odds_yes == pytest.approx(8.7)
    assert found.candidates == 20 and "0.25 of the 8 blocks" in found.rule
    everywhere = choose_range(sweep, "cat", "info", 0.0)
    assert (everywhere.first_layer, everywhere.last_layer, everywhere.candidates) == (1, 7, 27)


def test_the_last_block_alone_is_never_chosen() -> None:
    """What is added after it changes no key and no value, whatever its row says."""
    found = choose_range(table([(i, j, float(i + j)) for i in range(1, 8) for j in range(i, 8)]), "cat", "info", 0.0)
    assert (found.first_layer, found.last_layer) == (6, 7)


def test_certain_answers_are_told_apart_and_equal_ones_broken_by_length() -> None:
    certain = choose_range(table([(2, 3, 50.0), (2, 5, 60.0), (3, 7, 40.0)]), "cat", "info", 0.25)
    assert (certain.first_layer, certain.last_layer, certain.p_yes) == (2, 5, 1.0)
    equal = choose_range(table([(2, 7, 1.0), (4, 6, 1.0), (3, 5, 1.0)]), "cat", "info", 0.25)
    assert (equal.first_layer, equal.last_layer) == (3, 5)
    later = choose_range(table([(1, 3, 1.0), (5, 6, 1.0)]), "cat", "info", 0.0)
    assert (later.first_layer, later.last_layer) == (5, 6)


def test_equals_of_a_length_are_broken_by_the_earliest() -> None:
    equal = choose_range(table([(4, 6, 1.0), (3, 5, 1.0), (2, 4, 1.0), (1, 3, 1.0)]), "cat", "info", 0.0)
    assert (equal.first_layer, equal.last_layer) == (1, 3)


def test_a_range_may_start_right_where_ranges_may_start() -> None:
    found = choose_range(table([(2, 3, 1.0), (3, 7, 0.0)]), "cat", "info", 0.25)
    assert (found.first_layer, found.candidates) == (2, 2)


def test_other_vectors_and_prompts_say_nothing_of_a_choice() -> None:
    other = [table([(5, 6, 99.0)]).assign(vector="bread"), table([(5, 7, 99.0)]).assign(prompt="no_info")]
    found = choose_range(pd.concat([*other, table([(2, 3, 1.0), (3, 4, -1.0)])]), "cat", "info", 0.0)
    assert (found.first_layer, found.last_layer, found.candidates) == (2, 3, 2)


@pytest.mark.parametrize(
    ("mode", "how"),
    [("exhaustive", ""), ("coarse_to_fine", " (of the 10 that a search from coarse to fine has measured)")],
)
def test_a_choice_says_by_which_rule_it_was_made(mode: SweepMode, how: str) -> None:
    every = [(i, j, float(j - 2 * i)) for i, j in layer_ranges(5)]
    sweep = pd.concat([table(every), table(every).assign(vector="bread")])
    found = choose_range(sweep, "cat", "info", 0.2, mode)
    assert found == ChosenRange(
        first_layer=1,
        last_layer=4,
        p_yes=1 / (1 + math.exp(-2.0)),
        log_odds_yes=2.0,
        candidates=9,
        rule="the largest probability of yes with cat injected under the prompt info, among the 9 ranges that start "
        f"from 0.2 of the 5 blocks on and not with the last one{how}",
        mode=mode,
    )


def test_no_range_to_choose_from_is_explained() -> None:
    with pytest.raises(ValueError) as error:
        choose_range(table([(1, 1, 0.0), (1, 7, 0.0)]), "cat", "info", 0.9)
    assert str(error.value) == (
        "no range of the sweep for 'cat' under 'info' starts at or after 0.9 of the 8 blocks; lower "
        "sweep.earliest_start in params.yaml"
    )


def test_all_ranges_of_64_blocks() -> None:
    ranges = layer_ranges(64)
    assert len(set(ranges)) == 2016 == len(ranges)
    assert all(0 < first <= last < 64 for first, last in ranges)


def test_a_search_is_led_by_the_guides_vector_under_its_prompt_alone() -> None:
    ranges = [(1, 1), (1, 2), (2, 2)]
    rows = [
        {"vector": vector, "prompt": prompt, "first_layer": first, "last_layer": last}
        | {"log_odds_yes": 100.0 * first + 10.0 * last + (vector == "cat") + 2 * (prompt == "info")}
        for vector in ("cat", "bread")
        for prompt in ("info", "no_info")
        for first, last in ranges
    ]
    asked = []

    def measure(some: Sequence[tuple[int, int]]) -> pd.DataFrame:
        asked.append(list(some))
        return pd.DataFrame(rows)

    found = led_by(Guide("cat", "info", 0.0), measure, ranges)
    assert found == {(1, 1): 113.0, (1, 2): 123.0, (2, 2): 223.0} and asked == [ranges]
