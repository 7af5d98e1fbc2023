"""The plan: which rows go through a model together, what each of them is read from, and in which passes.

No tensor is touched here, so a plan of the work can be made, and counted, before a model is loaded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from introspection.engine.tree import Addition, Tree, first_rows, plan_tree, spans_of
from introspection.engine.trial import Injection, Trial

Steps = tuple[Addition, ...]
"""What is added after each block."""

Slot = tuple[Steps, tuple[int, ...]]
"""What is added to a slot, and its text."""


@dataclass(frozen=True)
class Pass:
    """One pass of a tree of rows through a model.

    rows: which rows of the batch it reads, by their places in it.
    tree: which of these rows share a slot at each depth.
    texts: the tokens of each slot that the first block computes, less those that the cache holds.
    cached: how many tokens before them the cache holds, all that is steered among them; 0 where there is no cache.
    last: for each row, the position in its text at which it is read.
    """

    rows: list[int]
    tree: Tree
    texts: list[tuple[int, ...]]
    cached: int
    last: list[int]

    @property
    def length(self) -> int:
        """How many tokens each slot has, padding included."""
        return max(map(len, self.texts))


@dataclass(frozen=True)
class Batch:
    """Rows that go through the model together.

    rows: their indices among the trials.
    trials: the rows themselves.
    slots: for each row, what is added to it, and the text that it is read from.
    prefix: the length of the turn 1 that they share through the KV cache, or 0 where each row is one pass.
    """

    rows: tuple[int, ...]
    trials: tuple[Trial, ...]
    slots: tuple[Slot, ...]
    prefix: int

    @cached_property
    def passes(self) -> list[Pass]:
        """The pass through turn 1, where it is shared, and those through what follows it: the whole rows where not."""
        every, texts = range(len(self.rows)), [text for _, text in self.slots]
        if not self.prefix:
            return [self._pass(every, texts, 0)]
        groups = [[row for row in every if len(texts[row]) in alike] for alike in _alike(map(len, texts))]
        turns_1 = [trial.prefix for trial in self.trials]
        return [self._pass(every, turns_1, 0), *(self._pass(rows, texts, self.prefix) for rows in groups)]

    def halves(self) -> list[Batch]:
        """The rows as two batches, planned anew: a text that a row was read from may be in the other half."""
        middle, blocks = len(self.rows) // 2, len(self.slots[0][0])
        halves = [(self.rows[part], self.trials[part]) for part in (slice(middle), slice(middle, None))]
        return [Batch(rows, trials, tuple(_slots_of(trials, blocks)), self.prefix) for rows, trials in halves]

    def _pass(self, rows: Sequence[int], texts: Sequence[tuple[int, ...]], cached: int) -> Pass:
        """The pass of some rows through their texts, of which the cache holds so many tokens."""
        own, steps = [texts[row] for row in rows], [self.slots[row][0] for row in rows]
        tree = plan_tree(own, steps, len(steps[0]))
        read = [own[row][cached:] for row in first_rows(tree.slots[0])]
        ends = [len(self.trials[row].token_ids) for row in rows]
        last = [min(end - cached, max(map(len, read))) - 1 for end in ends]
        return Pass(list(rows), _without_last_split(tree, ends), read, cached, last)


def plan_batches(trials: Sequence[Trial], blocks: int, tokens_per_batch: int) -> list[Batch]:
    """Sort rows so that neighbours share their computation, and cut them where they would need too much memory.

    Trials that share turn 1 and injection but differ after it are batched by turn 1, to be read from its cache.
    """
    by_prefix: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, trial in enumerate(trials):
        goes_on = len(trial.token_ids) > trial.turn_1[1]  # one that ends in turn 1 is not read after it
        by_prefix[trial.prefix if goes_on else ()].append(row)
    batches: list[Batch] = []
    alone: list[int] = []
    for prefix, rows in by_prefix.items():
        slots = _slots_of([trials[row] for row in rows], blocks) if prefix else []
        if len({steps for steps, _ in slots}) < len(set(slots)):
            batches += _cut(trials, rows, slots, tokens_per_batch, len(prefix))
        else:
            alone += rows
    return batches + _cut(trials, alone, _slots_of([trials[row] for row in alone], blocks), tokens_per_batch, 0)


def plan_after_turn_1(trials: Sequence[Trial], rows: Sequence[int], blocks: int, tokens_per_batch: int) -> list[Batch]:
    """Batches of some rows of the trials, which begin with the same turn 1 and are all read from its cache."""
    part = [trials[row] for row in rows]
    return _cut(trials, rows, _slots_of(part, blocks), tokens_per_batch, len(part[0].prefix))


def _without_last_split(tree: Tree, ends: Sequence[int]) -> Tree:
    """The tree without what is added after the last block, unless that is to a token that is read, a row's last."""
    for end, slot in zip(ends, tree.slots[-1], strict=True):
        if any(start < end <= stop for _, _, spans in tree.additions[-1][slot] for start, stop in spans):
            return tree
    width = tree.widths[-1]
    slots, parents, additions = tree.slots[:-1], tree.parents[:-1], tree.additions[:-1]
    return Tree([*slots, slots[-1]], [*parents, list(range(width))], [*additions, [()] * width])


@lru_cache(maxsize=2**16)
def _steps(injections: tuple[Injection, ...], turn_1: tuple[int, int], blocks: int) -> Steps:
    parts = []
    for each in injections:
        spans = spans_of(range(*turn_1) if each.positions is None else each.positions)
        if spans:
            parts.append(((each.vector, each.strength, spans), each))
    # sorted, so that what is added compares equal in whatever order it is given
    return tuple(tuple(sorted(part for part, each in parts if each.at(block))) for block in range(blocks))


def _slots_of(trials: Sequence[Trial], blocks: int) -> list[Slot]:
    """For each trial, what is added to it, and the longest of the texts under the same additions that it begins."""
    steps_of = [_steps(trial.injections, trial.turn_1, blocks) for trial in trials]
    texts: dict[Steps, set[tuple[int, ...]]] = defaultdict(set)
    for trial, steps in zip(trials, steps_of, strict=True):
        texts[steps].add(trial.token_ids)
    longest: dict[Slot, tuple[int, ...]] = {}
    for steps, of_steps in texts.items():
        above: tuple[int, ...] = ()
        for text in sorted(of_steps, reverse=True):  # right after the texts that begin with it
            above = above if above[: len(text)] == text else text
            longest[steps, text] = above
    return [(steps, longest[steps, trial.token_ids]) for trial, steps in zip(trials, steps_of, strict=True)]


_CACHED = 8  # a token whose keys and values are kept in every block takes some eight times the memory of another


def _cut(
    trials: Sequence[Trial], rows: Sequence[int], slots: Sequence[Slot], tokens_per_batch: int, prefix: int
) -> list[Batch]:
    """Batches of some rows that hold at most `tokens_per_batch` tokens (one slot at the least).

    Rows are taken in the order of a walk through their tree, one text after another where each row is one pass, and
    those of a batch with little padding; rows that share a turn 1 are taken injection by injection, so that as few
    batches as possible prefill the same.
    All rows of a slot are in one batch, so the batch's plan is that of its rows alone.
    """

    def order(item: tuple[int, Slot]) -> tuple[Any, ...]:
        steps, text = item[1]
        return (steps, len(text), text) if prefix else (len(text), text, steps)

    batches: list[list[tuple[int, Slot]]] = []
    held: dict[Slot, int] = {}  # the slots of the last batch and the lengths of their texts
    for row, slot in sorted(zip(rows, slots, strict=True), key=order):
        if slot not in held:
            grown = held | {slot: len(slot[1])}
            too_many = _tokens(grown, prefix) > tokens_per_batch
            if not batches or too_many or (not prefix and _padded(grown.values())):
                batches.append([])
                grown = {slot: len(slot[1])}
            held = grown
        batches[-1].append((row, slot))
    return [_batch(trials, batch, prefix) for batch in batches]


def _alike(lengths: Iterable[int]) -> list[set[int]]:
    """The lengths, sorted, and cut where a pass would have much padding."""
    groups: list[set[int]] = []
    for length in sorted(set(lengths)):
        if not groups or _padded(groups[-1] | {length}):
            groups.append(set())
        groups[-1].add(length)
    return groups


def _padded(lengths: Iterable[int]) -> bool:
    """Whether the shortest text would be padded by more than a quarter of its length."""
    every = set(lengths)
    return 5 * min(every) < 4 * max(every)


def _batch(trials: Sequence[Trial], planned: Sequence[tuple[int, Slot]], prefix: int) -> Batch:
    rows, slots = zip(*planned, strict=True)
    return Batch(rows, tuple(trials[row] for row in rows), slots, prefix)


def _tokens(slots: Mapping[Slot, int], prefix: int) -> int:
    """The tokens that a batch of slots with texts of these lengths holds in memory, padding included."""
    turns_1 = len({steps for steps, _ in slots}) if prefix else 0
    return len(slots) * (max(slots.values()) - prefix) + _CACHED * turns_1 * prefix
