"""The sweep from coarse to fine: its time beside the post's procedure, and what its best range lacks."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd

from benchmarks.measure import Arm, Outputs, in_child, timed
from benchmarks.subjects import organism, plan_shape, product_rate, random_model, settings_of, stimuli, suffixes
from benchmarks.sweep import NAME, PROMPT, STRENGTH, Build, post
from benchmarks.table import Row, compare
from introspection.engine.memory import tokens_that_fit
from introspection.engine.trial import Directions
from introspection.engine.work import Work, count_work
from introspection.experiments.sweep.choice import choose_range
from introspection.experiments.sweep.measure import layer_ranges, sweep_layers, sweep_trials
from introspection.experiments.sweep.search import Range, coarse_to_fine
from introspection.injection.dose import Guide
from introspection.injection.vectors import concept_vectors, random_vectors
from introspection.model.language_model import LanguageModel
from introspection.planning.plan import floating_point_operations
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Conversation

BLOCKS, WIDTH = 64, 128
GUIDE = Guide(NAME, PROMPT, 0.0)


def run() -> list[Row]:
    """A random model of 64 blocks; the baseline on a sample of ranges, since each costs the same two passes."""
    build: Build = partial(random_model, BLOCKS, WIDTH)
    ranges = layer_ranges(BLOCKS)
    sample = [(first, last) for first, last in ranges if first % 12 == 1 and last % 12 == 1]  # all on the grid
    ours, theirs = in_child(engine, build, GUIDE), in_child(post, build, False, sample)
    return [
        compare(
            f"sweep from coarse to fine, random, {BLOCKS} blocks of {WIDTH}",
            f"the post's procedure, timed on {len(sample)} of {len(ranges)} ranges",
            ours,
            theirs,
            40.0,
            difference=_difference(ours, theirs, sample),
            remark=f"{ours.notes['ranges']} of {len(ranges)} ranges measured",
        )
    ]


def distances() -> list[dict[str, Any]]:
    """For the organisms and for small random models, how far the best range is from the exhaustive search's."""
    cases: list[tuple[str, Any]] = [
        (f"organism: {key}", partial(_of_organism, key)) for key in ("organism", "organism-blind")
    ]
    cases += [
        (f"random, {blocks} blocks of 64, seed {seed}", partial(_of_random, blocks, seed))
        for blocks in (12, 24)
        for seed in range(4)
    ]
    return [{"model": name, **found} for name, case in cases for found in in_child(case)]


def engine(build: Build, guide: Guide | None) -> Arm:
    """The sweep of one vector under one prompt, of all ranges or from coarse to fine."""
    model = build()
    directions = {name: vector.directions for name, vector in random_vectors(model, 1, seed=3)}
    table = pd.DataFrame()

    def sweep() -> Outputs:
        nonlocal table
        table = _sweep(model, {NAME: STRENGTH}, directions, guide)
        return {name: table[name].to_numpy() for name in ("first_layer", "last_layer", "p_yes", "log_odds_yes")}

    seconds, peak, outputs = timed(sweep, at_most=2)
    work = _work(model, table, guide)
    return Arm(
        seconds,
        peak,
        outputs,
        work.block_tokens,
        floating_point_operations(work, plan_shape(model), len(table)),
        product_rate(model),
        notes={"ranges": len(table), "block_evaluations": work.block_evaluations},
    )


def _sweep(
    model: LanguageModel, strengths: dict[str, float], directions: Directions, guide: Guide | None
) -> pd.DataFrame:
    prompts: dict[str, Conversation] = {PROMPT: stimuli().detection[PROMPT]}
    return sweep_layers(model, stimuli(), prompts, strengths, directions, guide=guide)


def _work(model: LanguageModel, table: pd.DataFrame, guide: Guide | None) -> Work:
    """What the sweep computed, counted run by run as the search made them."""
    encoded = {PROMPT: encode(model.tokenizer, stimuli().detection[PROMPT])}
    values = {
        (int(first), int(last)): float(value)
        for first, last, value in zip(table["first_layer"], table["last_layer"], table["log_odds_yes"], strict=True)
    }
    total = Work()

    def measure(ranges: list[Range]) -> dict[Range, float]:
        nonlocal total
        trials = sweep_trials(encoded, {NAME: STRENGTH}, ranges)
        total += count_work(trials, len(model.blocks), tokens_that_fit(model))
        return {found: values[found] for found in ranges}

    if guide:
        coarse_to_fine(len(model.blocks), measure)
    else:
        measure(layer_ranges(len(model.blocks)))
    return total


def _difference(ours: Arm, theirs: Arm, sample: list[Range]) -> float:
    """Over the ranges of the sample that the engine has measured; the baseline's first row is the unsteered one."""
    layers = zip(ours.outputs["first_layer"], ours.outputs["last_layer"], strict=True)
    places = {(int(first), int(last)): place for place, (first, last) in enumerate(layers)}
    both = [(places[found], row) for row, found in enumerate(sample, start=1) if found in places]
    return max(
        float(abs(ours.outputs[name][place] - theirs.outputs[name][row]))
        for name in ("p_yes", "log_odds_yes")
        for place, row in both
    )


def _of_organism(key: str) -> list[dict[str, Any]]:
    own, model = settings_of(key), organism(key)
    found = concept_vectors(model, stimuli(), ["cat", "bread", "love", "fear"], suffixes())
    directions = {name: vector.directions for name, vector in found}
    return [_distance(model, name, own.strength, {name: directions[name]}, 0.25) for name in directions]


def _of_random(blocks: int, seed: int) -> list[dict[str, Any]]:
    model = random_model(blocks, 64, seed)
    directions = {name: vector.directions for name, vector in random_vectors(model, 1, seed)}
    return [_distance(model, NAME, STRENGTH, directions, 0.25)]


def _distance(
    model: LanguageModel, vector: str, strength: float, directions: Directions, earliest: float
) -> dict[str, Any]:
    every = _sweep(model, {vector: strength}, directions, None)
    some = _sweep(model, {vector: strength}, directions, Guide(vector, PROMPT, earliest))
    best, found = (choose_range(table, vector, PROMPT, earliest) for table in (every, some))
    rank = int(
        (every[every["first_layer"] >= earliest * len(model.blocks)]["log_odds_yes"] > found.log_odds_yes + 1e-5).sum()
    )
    return {
        "vector": vector,
        "ranges": len(every),
        "measured": len(some),
        "best": [best.first_layer, best.last_layer],
        "found": [found.first_layer, found.last_layer],
        "better_ranges": rank,
        "log_odds_below_best": max(0.0, best.log_odds_yes - found.log_odds_yes) if rank else 0.0,
        "p_yes_below_best": max(0.0, best.p_yes - found.p_yes) if rank else 0.0,
    }
