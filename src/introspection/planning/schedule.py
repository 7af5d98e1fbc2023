"""How long batches take on several actors that each hold a model, and what a study costs on a cluster of them."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from introspection.planning.machine import Machine
from introspection.planning.plan import ModelPlan, Stage, loading_seconds, seconds_of

PARTS = {"vectors: population": "the population", "population": "the population", "sweep": "the sweep"}
STUDY = "the study"  # all other stages


def makespan(seconds: Sequence[float], actors: int) -> float:
    """When the last batch is done, if whoever is idle takes the next one, in seconds after the first has begun."""
    free = [0.0] * actors
    for each in seconds:
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)


@dataclass(frozen=True)
class Price:
    """What a part of a study costs on so many actors, in seconds.

    loading: the part of it in which weights are read from disk, by all actors at once, for each stage anew. idle: the
    share of the actors' other time in which they wait. batches: of the run that has the most.
    """

    part: str
    actors: int
    seconds: float
    loading: float
    idle: float
    batches: int

    @property
    def limit(self) -> str:
        """What is in the way of a shorter time."""
        if self.loading > self.seconds / 2:
            return "weights read from disk"
        if self.idle > 0.5:
            return f"{self.batches} batches at the most: lower engine.tokens_per_batch"
        return "arithmetic"


def prices(plan: ModelPlan, machine: Machine, dtype: str, actors: int) -> list[Price]:
    """The price of the study, of the population of directions and of the sweep.

    plan, machine: of one actor. Runs of the engine follow one another, and so do stages; the batches of a run are read
    side by side.
    """
    stages: dict[str, list[Stage]] = {}
    for stage in plan.stages:
        stages.setdefault(PARTS.get(stage.name, STUDY), []).append(stage)
    return [_price(part, of_part, plan, machine, machine.flops[dtype], actors) for part, of_part in stages.items()]


def _price(part: str, stages: Sequence[Stage], plan: ModelPlan, machine: Machine, rate: float, actors: int) -> Price:
    runs = [
        [seconds_of(work, plan.shape, plan.placement, machine, rate) for work in run]
        for stage in stages
        for run in stage.runs
    ]
    loading = sum(loading_seconds(stage, plan.shape) for stage in stages)
    computing = sum(makespan(run, actors) for run in runs)
    idle = 1 - sum(map(sum, runs)) / (actors * computing)
    return Price(part, actors, computing + loading, loading, idle, max(map(len, runs)))
