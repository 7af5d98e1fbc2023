"""Steering: control vectors added to the residual stream, per row, per position, after each decoder block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Edit:
    """What is added to the residual stream after one decoder block.

    The block's output, of shape (slots, length, hidden), turns into `output + positions * additions`.

    additions: (slots or 1, hidden), what is added, strength included.
    positions: (slots or 1, length or 1), true where it is added; None means at every position.
    rows: (slots,), which row of additions and positions each slot takes, where they have not one for each slot.
    """

    additions: Tensor
    positions: Tensor | None = None
    rows: Tensor | None = None

    def __call__(self, residual: Tensor) -> Tensor:
        """The residual stream after the edit, (slots, length, hidden)."""
        additions, positions = self._for(residual)
        return residual + additions if positions is None else torch.addcmul(residual, positions, additions)

    def in_place(self, residual: Tensor) -> Tensor:
        """The residual stream after the edit, where it lies: it needs no memory besides, and lets no gradient pass."""
        additions, positions = self._for(residual)
        return residual.add_(additions) if positions is None else residual.addcmul_(positions, additions)

    def _for(self, residual: Tensor) -> tuple[Tensor, Tensor | None]:
        """What is added, and one where it is and zero elsewhere, to be broadcast over the residual stream."""

        def of_slots(values: Tensor) -> Tensor:
            values = values.to(residual.device, residual.dtype)
            return values if self.rows is None else values[self.rows.to(residual.device)]

        positions = None if self.positions is None else of_slots(self.positions).unsqueeze(-1)
        return of_slots(self.additions).unsqueeze(1), positions


@contextmanager
def steered(blocks: nn.ModuleList, edits: Mapping[int, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Apply `edits[k]` to the output of `blocks[k]` in every forward pass made inside the context.

    An edit makes of the residual stream, (slots, length, hidden), what the next block reads; an `Edit` adds to it.
    The hooks are removed when the context ends, by an exception too. Gradients pass through.
    Raises IndexError for a block that the model lacks.
    """
    handles = []
    try:
        for block, edit in edits.items():
            handles.append(blocks[block].register_forward_hook(_output_hook(edit)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _output_hook(edit: Callable[[Tensor], Tensor]) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):  # some families return (residual stream, attention weights, ...)
            return (edit(output[0]), *output[1:])
        return edit(output)

    return hook
