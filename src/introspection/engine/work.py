"""What a model computes for some trials, counted from the plan of their batches alone: no weight and no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from introspection.engine.batches import Pass, plan_batches
from introspection.engine.trial import Trial


@dataclass(frozen=True)
class Work:
    """How much a model computes for some trials. A slot is a row of a batch that a block computes.

    passes: through the whole model, each of which reads all weights once.
    block_evaluations: slots, summed over blocks and passes.
    block_tokens: tokens of those slots, padding included.
    attended: pairs of a token and one that it attends to, summed likewise.
    last_block_tokens: the part of block_tokens in the last block, where only the attention is computed in full.
    """

    passes: int = 0
    block_evaluations: int = 0
    block_tokens: int = 0
    attended: int = 0
    last_block_tokens: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def work_of_batches(trials: Sequence[Trial], blocks: int, tokens_per_batch: int) -> list[Work]:
    """What `run_trials` computes for these trials, batch by batch."""
    batches = plan_batches(trials, blocks, tokens_per_batch)
    return [sum(map(_of_pass, batch.passes), Work()) for batch in batches]


def count_work(trials: Sequence[Trial], blocks: int, tokens_per_batch: int) -> Work:
    """What `run_trials` computes for these trials."""
    return sum(work_of_batches(trials, blocks, tokens_per_batch), Work())


def block_evaluations(trials: Sequence[Trial], blocks: int, tokens_per_batch: int) -> int:
    """How many slots the model's blocks compute for these trials, summed over blocks and passes."""
    return count_work(trials, blocks, tokens_per_batch).block_evaluations


def _of_pass(each: Pass) -> Work:
    widths, length = each.tree.widths, each.length
    attended = length * each.cached + length * (length + 1) // 2
    return Work(1, sum(widths), sum(widths) * length, sum(widths) * attended, widths[-1] * length)
