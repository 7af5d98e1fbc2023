"""Steering: control vectors added to the residual stream, per row, per position, after each decoder block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Edit:
    """What becomes of the residual stream after one decoder block.

    The block's output, of shape (slots, length, hidden), turns into `output[parents] + positions * additions`.

    parents: (slots_after,), which slot each of the next block's slots continues; None keeps the slots as they are.
    additions: (slots_after or 1, hidden), what is added, strength included; None adds nothing.
    positions: (slots_after or 1, length or 1), true where it is added; None means at every position.
    rows: (slots_after,), which row of additions and positions each slot takes, where they have not one for each slot.
    """

    parents: Tensor | None = None
    additions: Tensor | None = None
    positions: Tensor | None = None
    rows: Tensor | None = None

    def __call__(self, residual: Tensor) -> Tensor:
        """The residual stream after the edit, (slots, length, hidden) to (slots_after, length, hidden)."""
        if self.parents is not None:
            residual = residual[self.parents.to(residual.device)]
        if self.additions is None:
            return residual
        additions = self._of_slots(self.additions, residual).unsqueeze(1)
        if self.positions is None:
            return residual + additions
        positions = self._of_slots(self.positions, residual).unsqueeze(-1)
        if self.parents is not None and not residual.requires_grad:  # a copy of our own
            return residual.addcmul_(positions, additions)
        return torch.addcmul(residual, positions, additions)

    def _of_slots(self, values: Tensor, residual: Tensor) -> Tensor:
        """Each slot's row of some values, where the residual stream is."""
        values = values.to(residual.device, residual.dtype)
        return values if self.rows is None else values[self.rows.to(residual.device)]


@contextmanager
def steered(blocks: nn.ModuleList, edits: Mapping[int, Edit]) -> Iterator[None]:
    """Apply `edits[k]` to the output of `blocks[k]` in every forward pass made inside the context.

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


def _output_hook(edit: Edit) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):  # some families return (residual stream, attention weights, ...)
            return (edit(output[0]), *output[1:])
        return edit(output)

    return hook
