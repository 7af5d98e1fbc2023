"""How time grows with blocks, ranges, concepts and prompts, beside the count of what is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.measure import in_child, timed
from benchmarks.subjects import random_model, stimuli
from introspection.engine.memory import tokens_that_fit
from introspection.engine.run import run_trials
from introspection.engine.trial import Injection, Trial
from introspection.engine.work import count_work
from introspection.experiments.sweep.measure import layer_ranges, sweep_trials
from introspection.injection.cells import cell_trials, cells_of, encode_all
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel

WIDTH, BLOCKS, STRENGTH = 128, 16, 4.0


def run() -> list[dict[str, Any]]:
    """For each thing that grows: its sizes, times, counts, and the exponents of time and count fitted to them."""
    cases: dict[str, tuple[Sequence[int], Callable[[int], tuple[int, Callable[[LanguageModel], list[Trial]]]]]] = {
        "blocks (a sweep of all ranges)": ((4, 8, 16, 32), lambda n: (n, _sweep)),
        "ranges (of 16 blocks)": ((15, 30, 60, 120), lambda n: (BLOCKS, lambda model: _sweep(model, n))),
        "concepts (detection)": ((2, 4, 8, 16), lambda n: (BLOCKS, lambda model: _detection(model, n))),
        "prompts (questions after one turn 1)": (
            (3, 6, 12, 24),
            lambda n: (BLOCKS, lambda model: _questions(model, n)),
        ),
    }
    return [{"what": what, **in_child(_grow, sizes, case)} for what, (sizes, case) in cases.items()]


def _grow(
    sizes: Sequence[int], case: Callable[[int], tuple[int, Callable[[LanguageModel], list[Trial]]]]
) -> dict[str, Any]:
    seconds, evaluations, tokens = [], [], []
    for size in sizes:
        blocks, make = case(size)
        model = random_model(blocks, WIDTH)
        trials = make(model)
        names = {injection.vector for trial in trials for injection in trial.injections}
        directions = {name: vector.directions for name, vector in random_vectors(model, len(names), seed=3)}

        def once(model: LanguageModel = model, trials: list[Trial] = trials, directions: Any = directions) -> Any:
            return {"states": run_trials(model, trials, directions, layers=[len(model.blocks)]).numpy()}

        seconds.append(timed(once, at_most=3, budget=3.0)[0])
        work = count_work(trials, blocks, tokens_that_fit(model))
        evaluations.append(work.block_evaluations)
        tokens.append(work.block_tokens)
    return {
        "sizes": list(sizes),
        "seconds": seconds,
        "block_evaluations": evaluations,
        "block_tokens": tokens,
        "exponent_of_time": _exponent(sizes, seconds),
        "exponent_of_block_tokens": _exponent(sizes, tokens),
    }


def _exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of a line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def _sweep(model: LanguageModel, count: int | None = None) -> list[Trial]:
    """All ranges, or so many of them evenly spread."""
    ranges = layer_ranges(len(model.blocks))
    places = np.linspace(0, len(ranges) - 1, count or len(ranges)).round().astype(int)
    encoded = encode_all(model.tokenizer, {"info": stimuli().detection["info"]})
    return sweep_trials(encoded, {"random_1": STRENGTH}, [ranges[place] for place in places])


def _injections(count: int) -> list[Injection]:
    return [Injection(f"random_{number}", STRENGTH, 5, 10) for number in range(1, count + 1)]


def _detection(model: LanguageModel, concepts: int) -> list[Trial]:
    prompts = stimuli().detection
    return cell_trials(encode_all(model.tokenizer, prompts), cells_of(list(prompts), _injections(concepts)))


def _questions(model: LanguageModel, count: int) -> list[Trial]:
    asked = stimuli()
    questions = {each.question: asked.control_conversation(each) for each in asked.controls[:count]}
    return cell_trials(encode_all(model.tokenizer, questions), cells_of(list(questions), _injections(4)))
