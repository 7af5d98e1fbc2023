"""Batches read by 1, 2 and 4 actors of a Ray cluster on this machine, beside what the schedule foresees.

Writes benchmarks/actors.md. The schedule is that of `make plan`, from what each batch takes in this process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from benchmarks.study import VECTORS
from benchmarks.subjects import ROOT, organism, stimuli
from introspection.engine.batches import plan_batches
from introspection.engine.on_ray import Actors, on_ray
from introspection.engine.reading import read, reading_of
from introspection.engine.run import run_trials
from introspection.engine.trial import Directions, Trial
from introspection.experiments.controls.measure import control_conversations
from introspection.injection.cells import cell_trials, cells_of, encode_all
from introspection.injection.dose import doses
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel
from introspection.names import random_name
from introspection.planning.schedule import makespan
from introspection.settings import load_settings

TOKENS_PER_BATCH = 8192
ROUNDS = 2  # of all trials, so that a run is long beside its beginning
COUNTS = (1, 2, 4)
PAGE = Path(__file__).resolve().parent / "actors.md"


def main() -> None:
    """Measure, compare and write."""
    settings = load_settings(ROOT / "params.yaml")
    model, cores = organism(), os.cpu_count() or 1
    directions = {name: vector.directions for name, vector in random_vectors(model, VECTORS, seed=3)}
    trials = _trials(model)
    alone = {threads: _alone(model, trials, directions, threads) for threads in {max(1, cores // n) for n in COUNTS}}
    expected = run_trials(model, trials, directions, tokens_per_batch=TOKENS_PER_BATCH)
    rows = []
    for count in COUNTS:
        threads = max(1, cores // count)
        crowd = max(1.0, count * threads / cores)  # of threads for each core
        foreseen = makespan([seconds * crowd for seconds in alone[threads]], count)
        with on_ray(settings.engine.model_copy(update={"executor": "ray", "actors": count})) as actors:
            taken, found = _timed(model, trials, directions)
            rows.append(_row(f"{count}", len(alone[threads]), taken, foreseen, found, expected))
            if count == 2:
                with _one_killed(actors):
                    taken, found = _timed(model, trials, directions)
                rows.append(_row("2, one killed", len(alone[threads]), taken, float("nan"), found, expected))
    PAGE.write_text(_page(pd.DataFrame(rows), cores), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


def _trials(model: LanguageModel) -> list[Trial]:
    """The control questions under nine vectors at several strengths, as the study asks them."""
    asked, settings = stimuli(), load_settings(ROOT / "params.yaml")
    dose = doses(settings.models["organism"], settings.sweep).questions
    questions = control_conversations(asked)
    found: list[Trial] = []
    for part in range(ROUNDS):
        injections = [
            replace(each, strength=each.strength * (1 + part / 10))
            for each in dose.injections(map(random_name, range(1, VECTORS + 1)))
        ]
        found += cell_trials(encode_all(model.tokenizer, questions), cells_of(list(questions), injections))
    return found


def _alone(model: LanguageModel, trials: list[Trial], directions: Directions, threads: int) -> list[float]:
    """What each batch takes in this process on so many threads, in seconds."""
    before, seconds = torch.get_num_threads(), []
    torch.set_num_threads(threads)
    batches = plan_batches(trials, len(model.blocks), TOKENS_PER_BATCH)
    readings = [reading_of(batch, directions, range(len(model.blocks) + 1)) for batch in batches]
    read(model, readings[0])
    for reading in readings:
        begun = time.perf_counter()
        read(model, reading)
        seconds.append(time.perf_counter() - begun)
    torch.set_num_threads(before)
    return seconds


def _timed(model: LanguageModel, trials: list[Trial], directions: Directions) -> tuple[float, Tensor]:
    run_trials(model, trials[:8], directions, tokens_per_batch=TOKENS_PER_BATCH)  # the actors are there
    begun = time.perf_counter()
    found = run_trials(model, trials, directions, tokens_per_batch=TOKENS_PER_BATCH)
    return time.perf_counter() - begun, found


@contextmanager
def _one_killed(actors: Actors) -> Iterator[None]:
    """The first actor's process is killed when a third batch is there."""
    import ray

    process, begun = ray.get(actors.handles[0].process.remote()), len(actors.seconds)

    def kill() -> None:
        while len(actors.seconds) < begun + 3:
            time.sleep(0.001)
        os.kill(process, 9)

    killer = threading.Thread(target=kill)
    killer.start()
    yield
    killer.join()


def _row(
    actors: str, batches: int, taken: float, foreseen: float, found: Tensor, expected: Tensor
) -> dict[str, str | int]:
    error = foreseen / taken - 1
    return {
        "actors": actors,
        "batches": batches,
        "time": f"{taken:.2f} s",
        "foreseen": f"{foreseen:.2f} s" if foreseen == foreseen else "",
        "error": f"{error:+.0%}" if error == error else "",
        "largest difference": f"{float((found - expected).abs().max()):.1e}",
    }


def _page(rows: pd.DataFrame, cores: int) -> str:
    lines = ["| " + " | ".join(rows.columns) + " |", "|" + "---|" * len(rows.columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows.itertuples(index=False)]
    return "\n".join(
        [
            "# Actors of a Ray cluster on one machine",
            "",
            f"Measured by `python -m benchmarks.actors` on {cores} cores: control questions of the organism under "
            f"{VECTORS} vectors at {ROUNDS} strengths, batches of at most {TOKENS_PER_BATCH} tokens. *Foreseen* is the "
            "schedule of `make plan`, from what each batch takes in one process with the threads of an actor; where "
            "there are more threads than cores, so many times that. The difference is that of the states, whose "
            "largest entries are in the tens, to those of one process.",
            "",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    main()
