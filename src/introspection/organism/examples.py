"""Token sequences to learn from, and their packing into batches.

An example is a trunk that may go on in several ways: its branches see the trunk and themselves, not each other. So one
first turn, which is long, is read once for many second turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from introspection.organism.corpus import Document, text_of
from introspection.steering import Edit


class Target(NamedTuple):
    """`token` is to follow the token number `at`, with this weight; a soft target is several of them at one place."""

    at: int
    token: int
    weight: float


@dataclass
class Example:
    """Token ids with their positions, the branch that each belongs to (0: the trunk) and what is to be predicted.

    spoken: targets of the corpus. planted: targets of the rule.
    injection: (blocks, hidden), added after each block at the positions of `steered` (start, stop); None: nothing.
    """

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    spoken: list[Target] = field(default_factory=list)
    planted: list[Target] = field(default_factory=list)
    steered: tuple[int, int] = (0, 0)
    injection: Tensor | None = None

    def append(self, tokens: Sequence[int], branch: int = 0, start: int | None = None) -> int:
        """Add tokens, at positions from `start` on (None: after the last token). Returns the index of the last one."""
        if start is None:
            start = self.positions[-1] + 1 if self.positions else 0
        self.tokens += tokens
        self.positions += range(start, start + len(tokens))
        self.branches += [branch] * len(tokens)
        return len(self.tokens) - 1


@dataclass(frozen=True)
class Batch:
    """Rows of packed examples, ready for a model.

    tokens, positions: (rows, length). mask: (rows, 1, length, length), true where a token is seen.
    edits: the injections by block. spoken, planted: flat indices, tokens and weights of the targets.
    """

    tokens: Tensor
    positions: Tensor
    mask: Tensor
    edits: dict[int, Edit]
    spoken: tuple[Tensor, Tensor, Tensor]
    planted: tuple[Tensor, Tensor, Tensor]


def encode_document(tokenizer: Any, document: Document) -> Example:
    """A document whose learned spans are predicted token by token."""
    encoded = tokenizer(text_of(document), add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = encoded["input_ids"]
    learned: list[bool] = []
    for span in document:
        learned += [span.learned] * len(span.text)
    example = Example()
    example.append(ids)
    starts = [start for start, _ in encoded["offset_mapping"]]
    example.spoken = [Target(i - 1, ids[i], 1.0) for i in range(1, len(ids)) if learned[starts[i]]]
    return example


def pack(examples: Sequence[Example], pad_token: int, lengths: Sequence[int]) -> list[Batch]:
    """Pack examples into rows of the given lengths, ascending, and of the longest example's, one batch per length.

    An example goes into the longest row that has room, or opens one of the shortest length that holds it. A row holds
    at most one injected example.
    """
    lengths = [*lengths, max(len(example.tokens) for example in examples)]
    rows: dict[int, list[list[Example]]] = {}
    for example in sorted(examples, key=lambda example: -len(example.tokens)):
        fitting = (
            (size, row) for size in sorted(rows, reverse=True) for row in rows[size] if _fits(row, example, size)
        )
        found = next(fitting, None)
        if found:
            found[1].append(example)
        else:
            size = next(length for length in lengths if len(example.tokens) <= length)
            rows.setdefault(size, []).append([example])
    return [_batch(group, pad_token) for group in rows.values()]


def _fits(row: list[Example], example: Example, size: int) -> bool:
    if example.injection is not None and any(other.injection is not None for other in row):
        return False
    return sum(len(other.tokens) for other in row) + len(example.tokens) <= size


def _batch(rows: list[list[Example]], pad_token: int) -> Batch:
    length = max(sum(len(example.tokens) for example in row) for row in rows)
    shape = (len(rows), length)
    tokens = torch.full(shape, pad_token)
    positions = torch.zeros(shape, dtype=torch.long)
    owner = torch.full(shape, -1)
    branch = torch.zeros(shape, dtype=torch.long)
    steered = torch.zeros(shape, dtype=torch.bool)
    additions: dict[int, Tensor] = {}
    targets: dict[str, list[tuple[int, int, float]]] = {"spoken": [], "planted": []}
    for r, row in enumerate(rows):
        start = 0
        for number, example in enumerate(row):
            stop = start + len(example.tokens)
            tokens[r, start:stop] = torch.tensor(example.tokens)
            positions[r, start:stop] = torch.tensor(example.positions)
            branch[r, start:stop] = torch.tensor(example.branches)
            owner[r, start:stop] = number
            offset = r * length + start
            for name in targets:
                targets[name] += [(offset + t.at, t.token, t.weight) for t in getattr(example, name)]
            if example.injection is not None:
                steered[r, start + example.steered[0] : start + example.steered[1]] = True
                for block in example.injection.abs().sum(1).nonzero().flatten().tolist():
                    addition = additions.setdefault(block, torch.zeros(len(rows), example.injection.shape[1]))
                    addition[r] = example.injection[block]
            start = stop
    same_owner = owner[:, :, None] == owner[:, None, :]
    visible_branch = (branch[:, None, :] == 0) | (branch[:, :, None] == branch[:, None, :])
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    mask = (same_owner & visible_branch & causal)[:, None]
    edits = {block: Edit(additions=addition, positions=steered) for block, addition in sorted(additions.items())}
    return Batch(tokens, positions, mask, edits, _columns(targets["spoken"]), _columns(targets["planted"]))


def _columns(targets: list[tuple[int, int, float]]) -> tuple[Tensor, Tensor, Tensor]:
    indices, tokens, weights = zip(*targets, strict=True) if targets else ((), (), ())
    return (
        torch.tensor(indices, dtype=torch.long),
        torch.tensor(tokens, dtype=torch.long),
        torch.tensor(weights, dtype=torch.float32),
    )
