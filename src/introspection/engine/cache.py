"""Keys and values of turn 1: collected, kept, and given to the rows that share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from introspection.engine.batches import Pass
from introspection.engine.tree import first_rows


@dataclass(frozen=True)
class Prefill:
    """The keys and values of a beginning of a conversation, each of shape (1, heads, length, head size) per block."""

    token_ids: tuple[int, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


class CollectedLayer(DynamicLayer):
    """A block's keys and values of a beginning, which comes a slice of the slots after another."""

    def __init__(self) -> None:
        super().__init__()
        self._slices: list[tuple[Tensor, Tensor]] = []

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """The slice's own keys and values, since nothing comes before them."""
        self._slices.append((key_states, value_states))
        return key_states, value_states

    def collected(self) -> tuple[Tensor, Tensor]:
        """The keys and the values of all slots, of which each slice is forgotten."""
        keys, values = zip(*self._slices, strict=True)
        self._slices.clear()
        return torch.cat(keys), torch.cat(values)


class SharedLayer(DynamicLayer):
    """A block's keys and values of turn 1, given to the slots that share them one slice of a block at a time.

    rows: for each slot, whose it reads; None where there is one row.
    copies: whether a slot is given a copy of what it reads before its own keys and values, or those alone, and its
        attention reads the rest where it lies.
    """

    def __init__(self, keys: Tensor, values: Tensor, rows: Tensor | None) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values, self._rows = keys, values, rows
        self._begin = self._end = 0
        self.copies = True

    @property
    def length(self) -> int:
        """How many tokens turn 1 has."""
        return self.keys.shape[-2]

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """The shared keys and values followed by the new ones; the new ones alone where nothing is copied."""
        self._begin, self._end = self._end, self._end + len(key_states)
        return self.followed_by(key_states, value_states) if self.copies else (key_states, value_states)

    def rows_read(self) -> list[int]:
        """For each slot of the last slice, the row that it reads."""
        return [0] * (self._end - self._begin) if self._rows is None else self._rows[self._begin : self._end].tolist()

    def followed_by(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        """A copy of what each slot of the last slice reads, followed by its own keys and values."""
        device = key_states.device
        keys, values = self.keys.to(device), self.values.to(device)
        if self._rows is not None:
            rows = self._rows[self._begin : self._end].to(device)
            keys, values = keys[rows], values[rows]
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)


class GrowingCache(Cache):
    """A cache that begins with another model's keys and values and keeps the new ones."""

    def __init__(self, layers: list[SharedLayer]) -> None:
        super().__init__(layers=layers)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """The keys and values up to the new ones, which from now on belong to the cache."""
        layer = self.layers[layer_idx]
        layer.keys, layer.values = layer.update(key_states, value_states)
        return layer.keys, layer.values


def shared_cache(keys: Sequence[Tensor], values: Sequence[Tensor], turn_1: Pass, rest: Pass) -> Cache:
    """For each block, which slot of the pass through turn 1 each slot of a pass through what follows reads."""
    layers = []
    for block, (k, v) in enumerate(zip(keys, values, strict=True)):
        firsts = [rest.rows[row] for row in first_rows(rest.tree.slots[block])]
        layers.append(SharedLayer(k, v, torch.tensor([turn_1.tree.slots[block][row] for row in firsts])))
    return Cache(layers=layers)
