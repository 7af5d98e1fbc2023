"""The residual stream of a pass: it is there once, and blocks and splits change it where it lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from introspection.engine.memory import slice_tokens
from introspection.model.hooks import replaced_forward
from introspection.model.placement import weights_in_place


class Stream:
    """The residual stream of the slots of a pass, (slots, length, hidden), at the beginning of memory that holds more.

    room: how many slots there will be at most.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._memory: Tensor | None = None

    def split(self, residual: Tensor, parents: Tensor) -> Tensor:
        """The stream of the slots that continue these; parents: (slots after,), whose stream each of them continues.

        Slots are numbered in the order in which they come up, so none comes before its parent, and from the last slot
        on each is written where nothing is that is still to be read.
        """
        memory = self._holding(residual)
        size = _slots_at_once(residual)
        for part in reversed(torch.arange(len(parents)).split(size)):
            begin, end = int(part[0]), int(part[-1]) + 1
            memory[begin:end] = memory[parents[begin:end].to(memory.device)]
        return memory[: len(parents)]

    def _holding(self, residual: Tensor) -> Tensor:
        """The memory that holds the stream: new with its first split, and where it has been moved to another device."""
        if self._memory is None or self._memory.data_ptr() != residual.data_ptr():
            self._memory = residual.new_empty(max(self._room, len(residual)), *residual.shape[1:])
            self._memory[: len(residual)] = residual
        return self._memory


@contextmanager
def in_slices(blocks: nn.ModuleList) -> Iterator[None]:
    """Each block computes a slice of the slots after another, so that only the residual stream is there for all.

    What a block needs besides is many times wider; on a CPU a slice's share of it stays in the cache.
    """

    def sliced(block: nn.Module, whole: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        residual = inputs[0] if inputs else named.pop("hidden_states")
        output: Any = None
        with weights_in_place(block):
            for part in residual.split(_slots_at_once(residual)):
                output = whole(part, *inputs[1:], **named)
                part.copy_(output[0] if isinstance(output, tuple) else output)  # nobody needs the block's input again
        return (residual, *output[1:]) if isinstance(output, tuple) else residual

    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(replaced_forward(block, partial(sliced, block, block.forward)))
        yield


def _slots_at_once(residual: Tensor) -> int:
    return max(1, slice_tokens(residual.is_cuda) // residual.shape[1])
