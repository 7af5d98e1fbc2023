"""The plan: which rows go through a model together, which of them share a slot at each depth, and what that computes.

No tensor is touched here, so a plan of the work can be made, and counted, before a model is loaded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from introspection.engine.trial import Injection, Trial

Addition = tuple[str, float, tuple[int, int]]
"""What is added after a block, in terms that compare equal where the same is added: vector, strength, positions."""


@dataclass(frozen=True)
class Tree:
    """Which rows share a slot at each depth; depth k is the input of block k, the last depth the model's output.

    slots: for each depth, the slot of each row.
    parents: for each block, the slot before it that each slot after it continues.
    additions: for each block, what is added to each slot after it.
    """

    slots: list[list[int]]
    parents: list[list[int]]
    additions: list[list[Addition | None]]

    @property
    def widths(self) -> list[int]:
        """The number of slots that each block computes."""
        return [max(slots) + 1 for slots in self.slots[:-1]]


def plan_tree(roots: Sequence[Hashable], additions: Sequence[Sequence[Addition | None]], blocks: int) -> Tree:
    """Plan a batch of rows, from what each row begins with and what is added to it after each block."""
    first, _ = numbered(roots)
    tree = Tree(slots=[first], parents=[], additions=[])
    for block in range(blocks):
        branches = [(slot, row[block]) for slot, row in zip(tree.slots[-1], additions, strict=True)]
        slots, distinct = numbered(branches)
        tree.slots.append(slots)
        tree.parents.append([parent for parent, _ in distinct])
        tree.additions.append([addition for _, addition in distinct])
    return tree


def numbered(values: Sequence[Any]) -> tuple[list[int], list[Any]]:
    """Each value's number in order of first appearance, and the distinct values in that order."""
    numbers: dict[Any, int] = {}
    return [numbers.setdefault(value, len(numbers)) for value in values], list(numbers)


@dataclass(frozen=True)
class Batch:
    """Rows that go through the model together.

    rows: their indices among the trials.
    prefix: the length of the turn 1 that they share through the KV cache, or 0 where each row is one pass.
    """

    rows: tuple[int, ...]
    prefix: int = 0


def plan_batches(trials: Sequence[Trial], blocks: int, tokens_per_batch: int) -> list[Batch]:
    """Sort rows so that neighbours share their computation, and cut them where they would need too much memory.

    Trials that share turn 1 and injection but differ after it are batched by turn 1, to be read from its cache.
    """
    by_prefix: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, trial in enumerate(trials):
        by_prefix[trial.prefix].append(row)
    batches: list[Batch] = []
    alone: list[int] = []
    for prefix, rows in by_prefix.items():
        slots = slots_of([trials[row] for row in rows], blocks)
        if prefix and len({steps for steps, _ in slots}) < len(set(slots)):
            batches += cut(rows, slots, tokens_per_batch, len(prefix))
        else:
            alone += rows
    return batches + cut(alone, slots_of([trials[row] for row in alone], blocks), tokens_per_batch, 0)


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


def count_work(trials: Sequence[Trial], blocks: int, tokens_per_batch: int) -> Work:
    """What `run_trials` computes for these trials, from the plan of its batches alone."""
    total = Work()
    for batch in plan_batches(trials, blocks, tokens_per_batch):
        turn_1, whole, texts = trees([trials[row] for row in batch.rows], batch.prefix, blocks)
        if turn_1:
            total += _pass_work(turn_1, batch.prefix, 0)
        total += _pass_work(whole, max(map(len, texts)) - batch.prefix, batch.prefix)
    return total


def trees(rows: Sequence[Trial], prefix: int, blocks: int) -> tuple[Tree | None, Tree, list[tuple[int, ...]]]:
    """The tree of a shared turn 1, that of the whole rows, and the text that each row is read from."""
    slots = slots_of(rows, blocks)
    texts, additions = [text for _, text in slots], [steps for steps, _ in slots]
    turn_1 = plan_tree([None] * len(rows), additions, blocks) if prefix else None
    return turn_1, plan_tree(texts, additions, blocks), texts


def block_evaluations(trials: Sequence[Trial], blocks: int, tokens_per_batch: int) -> int:
    """How many slots the model's blocks compute for these trials, summed over blocks and passes."""
    return count_work(trials, blocks, tokens_per_batch).block_evaluations


def _pass_work(tree: Tree, length: int, before: int) -> Work:
    slots = sum(tree.widths)
    attended = length * before + length * (length + 1) // 2
    return Work(1, slots, slots * length, slots * attended, tree.widths[-1] * length)


Steps = tuple[Addition | None, ...]
"""What is added after each block."""

Slot = tuple[Steps, tuple[int, ...]]
"""What is added to a slot, and its text."""


def _steps(trial: Trial, blocks: int) -> Steps:
    return _steps_of(trial.injection, trial.turn_1, blocks)


@lru_cache(maxsize=2**16)
def _steps_of(injection: Injection | None, turn_1: tuple[int, int], blocks: int) -> Steps:
    if injection is None:
        return (None,) * blocks
    addition = (injection.vector, injection.strength, turn_1)
    return tuple(addition if injection.at(block) else None for block in range(blocks))


def slots_of(trials: Sequence[Trial], blocks: int) -> list[Slot]:
    """For each trial, what is added to it, and the longest of the texts under the same additions that it begins."""
    texts: dict[Steps, set[tuple[int, ...]]] = defaultdict(set)
    for trial in trials:
        texts[_steps(trial, blocks)].add(trial.token_ids)
    longest: dict[Slot, tuple[int, ...]] = {}
    for steps, of_steps in texts.items():
        above: tuple[int, ...] = ()
        for text in sorted(of_steps, reverse=True):  # right after the texts that begin with it
            above = above if above[: len(text)] == text else text
            longest[steps, text] = above
    return [(steps, longest[steps, trial.token_ids]) for trial in trials for steps in [_steps(trial, blocks)]]


_CACHED = 8  # a token whose keys and values are kept in every block takes some eight times the memory of another


def cut(rows: Sequence[int], slots: Sequence[Slot], tokens_per_batch: int, prefix: int) -> list[Batch]:
    """Batches that hold at most `tokens_per_batch` tokens (one slot at the least), with little padding.

    Rows are taken in the order of a walk through their tree, one text after another where each row is one pass; rows
    that share a turn 1 are taken injection by injection, so that as few batches as possible prefill the same.
    """

    def order(item: tuple[int, Slot]) -> tuple[Any, ...]:
        steps, text = item[1]
        walk = tuple(addition or ("", 0.0, (0, 0)) for addition in steps)
        return (walk, len(text), text) if prefix else (len(text), text, walk)

    batches: list[Batch] = []
    batch: list[int] = []
    held: dict[Slot, int] = {}  # the slots of the batch and the lengths of their texts
    for row, slot in sorted(zip(rows, slots, strict=True), key=order):
        grown = held | {slot: len(slot[1])} if slot not in held else held
        too_many = _tokens(grown, prefix) > tokens_per_batch
        padded = 5 * min(grown.values()) < 4 * max(grown.values())
        if batch and grown is not held and (too_many or padded):
            batches.append(Batch(tuple(batch), prefix))
            batch, grown = [], {slot: len(slot[1])}
        batch.append(row)
        held = grown
    if batch:
        batches.append(Batch(tuple(batch), prefix))
    return batches


def _tokens(slots: Mapping[Slot, int], prefix: int) -> int:
    """The tokens that a batch of slots with texts of these lengths holds in memory, padding included."""
    turns_1 = len({steps for steps, _ in slots}) if prefix else 0
    return len(slots) * (max(slots.values()) - prefix) + _CACHED * turns_1 * prefix


def first_rows(slots: Sequence[int]) -> list[int]:
    """For each slot, the first row that is in it."""
    firsts: dict[int, int] = {}
    for row, slot in enumerate(slots):
        firsts.setdefault(slot, row)
    return [firsts[slot] for slot in range(len(firsts))]
