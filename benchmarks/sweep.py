"""The layer sweep over all ranges, against the post's procedure for each range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import Arm, Outputs, in_child, largest_difference, parts_of, share_in_lanes, timed
from benchmarks.post import read_turns
from benchmarks.subjects import TITLES, organism, plan_shape, product_rate, random_model, stimuli
from benchmarks.table import Row, compare
from introspection.engine.memory import tokens_that_fit
from introspection.engine.run import run_trials
from introspection.engine.trial import Trial
from introspection.engine.work import count_work
from introspection.experiments.sweep.measure import layer_ranges, sweep_trials
from introspection.experiments.sweep.search import Range
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel
from introspection.model.readout import log_odds, read_answers
from introspection.planning.plan import floating_point_operations
from introspection.stimuli.chat import encode

PROMPT = "info"
STRENGTH = 4.0
NAME = "random_1"

Build = Callable[[], LanguageModel]


def run() -> list[Row]:
    """All ranges, on the organism, a random model of 16 blocks of 512 and SmolLM2, their baselines timed on some."""
    rows = []
    subjects: list[tuple[str, Build, int]] = [
        (TITLES["organism"], organism, 1),
        ("random, 16 blocks of 512", partial(random_model, 16, 512), 8),
        (TITLES["smollm2-135m"], partial(organism, "smollm2-135m"), 29),
    ]
    for name, build, every in subjects:
        ours, in_lanes = in_child(engine, build), share_in_lanes(engine, build)
        ranges = layer_ranges(int(ours.notes["blocks"]))
        places = range(0, len(ranges), every)
        read = [0, *(1 + place for place in places)]  # the first row is the unsteered one
        for baseline, cached in (("the post's procedure", False), ("the same, unsteered arm once", True)):
            theirs = in_child(post, build, cached, [ranges[place] for place in places])
            rows.append(
                compare(
                    f"layer sweep, {len(ranges)} ranges, {name}",
                    baseline + (f", timed on {len(places)} ranges" if every > 1 else ""),
                    ours,
                    theirs,
                    0.95,
                    difference=largest_difference(
                        {output: values[read] for output, values in ours.outputs.items()}, theirs.outputs
                    ),
                    in_lanes=in_lanes,
                )
            )
    return rows


def engine(build: Build) -> Arm:
    """Every range and the unsteered row, as rows of the engine."""
    model = build()
    directions = {name: vector.directions for name, vector in random_vectors(model, 1, seed=3)}
    conversation = stimuli().detection[PROMPT]

    def trials() -> list[Trial]:
        encoded = encode(model.tokenizer, conversation)
        swept = sweep_trials({PROMPT: encoded}, {NAME: STRENGTH}, layer_ranges(len(model.blocks)))
        return [Trial(encoded.token_ids, encoded.steered), *swept]

    def sweep() -> Outputs:
        states = run_trials(model, trials(), directions, layers=[len(model.blocks)])[:, 0]
        found = read_answers(model, states, " yes", " no")
        return {name: found[name].numpy() for name in ("p_yes", "log_odds_yes")}

    seconds, peak, outputs = timed(sweep)
    work = count_work(trials(), len(model.blocks), tokens_that_fit(model))
    return Arm(
        seconds,
        peak,
        outputs,
        work.block_tokens,
        floating_point_operations(work, plan_shape(model), work_rows(outputs)),
        product_rate(model),
        parts=parts_of(sweep),
        notes={"blocks": len(model.blocks), "block_evaluations": work.block_evaluations},
    )


def post(build: Build, cached: bool, sample: Sequence[Range] | None = None) -> Arm:
    """Range by range: wrapped, two phases, and the unsteered arm for each range or, cached, once.

    sample: only these ranges; the time is scaled to all of them.
    """
    model = build()
    conversation = stimuli().detection[PROMPT]
    (_, vector) = next(iter(random_vectors(model, 1, seed=3)))
    every = layer_ranges(len(model.blocks))
    ranges = every if sample is None else sample
    encoded = encode(model.tokenizer, conversation)

    def sweep() -> Outputs:
        logits: list[Tensor] = []
        base: Tensor | None = None
        for layers in ranges:
            if base is None or not cached:
                base = read_turns(model, conversation, encoded, None).logits[0, -1].float()
            logits.append(read_turns(model, conversation, encoded, STRENGTH * vector, layers).logits[0, -1].float())
        assert base is not None
        return answers(model, torch.stack([base, *logits]))

    seconds, peak, outputs = timed(sweep)
    passes = len(every) + 1 if cached else 2 * len(every)
    return Arm(
        seconds,
        peak,
        outputs,
        passes * len(model.blocks) * len(encoded.token_ids),
        scale=passes / (len(ranges) + 1 if cached else 2 * len(ranges)),
    )


def answers(model: LanguageModel, logits: Tensor) -> Outputs:
    """What the engine reads, from logits, (rows, vocabulary)."""
    yes = model.token(" yes")
    return {
        "p_yes": torch.softmax(logits, dim=-1)[:, yes].numpy(),
        "log_odds_yes": log_odds(logits, yes).numpy(),
    }


def work_rows(outputs: Outputs) -> int:
    """How many states were unembedded."""
    return int(np.size(outputs["p_yes"]))
