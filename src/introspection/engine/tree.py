"""The tree in depth: which rows share a slot before each block, where the slots split, and what is added to them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Spans = tuple[tuple[int, int], ...]
"""A set of positions: its runs, each (start, stop), in their order, of which none touches the next."""

Addition = tuple[tuple[str, float, Spans], ...]
"""What is added after a block, in terms that compare equal where the same is added: vectors, strengths, positions."""


@dataclass(frozen=True)
class Tree:
    """Which rows share a slot at each depth; depth k is the input of block k, the last depth the model's output.

    slots: for each depth, the slot of each row.
    parents: for each block, the slot before it that each slot after it continues.
    additions: for each block, what is added to each slot after it.
    """

    slots: list[list[int]]
    parents: list[list[int]]
    additions: list[list[Addition]]

    @property
    def widths(self) -> list[int]:
        """The number of slots that each block computes."""
        return [max(slots) + 1 for slots in self.slots[:-1]]


def plan_tree(roots: Sequence[Hashable], additions: Sequence[Sequence[Addition]], blocks: int) -> Tree:
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


def spans_of(positions: Iterable[int]) -> Spans:
    """A set of positions as its runs."""
    spans: list[tuple[int, int]] = []
    for position in sorted(set(positions)):
        if spans and spans[-1][1] == position:
            spans[-1] = (spans[-1][0], position + 1)
        else:
            spans.append((position, position + 1))
    return tuple(spans)


def numbered(values: Sequence[Any]) -> tuple[list[int], list[Any]]:
    """Each value's number in order of first appearance, and the distinct values in that order."""
    numbers: dict[Any, int] = {}
    return [numbers.setdefault(value, len(numbers)) for value in values], list(numbers)


def first_rows(slots: Sequence[int]) -> list[int]:
    """For each slot, the first row that is in it."""
    firsts: dict[int, int] = {}
    for row, slot in enumerate(slots):
        firsts.setdefault(slot, row)
    return [firsts[slot] for slot in range(len(firsts))]
