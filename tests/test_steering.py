"""Steering undoes itself, whatever happens, and changes only what it should."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from introspection.steering import Edit, steered


class Tuple(nn.Module):
    """A block that returns more than the residual stream."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, str]:
        return x, "attention"


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 5), st.data())
def test_only_steered_positions_of_steered_rows_change(
    rows: int, length: int, hidden: int, data: st.DataObject
) -> None:
    mask = torch.tensor(
        data.draw(st.lists(st.lists(st.booleans(), min_size=length, max_size=length), min_size=rows, max_size=rows))
    )
    torch.manual_seed(0)
    before, vectors = torch.randn(rows, length, hidden), torch.randn(rows, hidden)
    after = Edit(additions=vectors, positions=mask)(before)
    for row in range(rows):
        for position in range(length):
            added = vectors[row] if mask[row, position] else torch.zeros(hidden)
            assert torch.equal(after[row, position], before[row, position] + added)


@pytest.mark.parametrize("positions", [None, torch.tensor([[True, False, True], [False, False, True]])])
def test_an_edit_in_place_adds_the_same_where_the_residual_stream_lies(positions: torch.Tensor | None) -> None:
    torch.manual_seed(0)
    before = torch.randn(2, 3, 4)
    edit = Edit(torch.randn(2, 4), positions)
    changed = before.clone()
    assert edit.in_place(changed) is changed
    assert torch.equal(changed, edit(before)) and not torch.equal(changed, before)


def test_steering_ends_with_the_context_by_an_exception_too() -> None:
    blocks = nn.ModuleList([nn.Identity(), Tuple()])
    x, edits = torch.ones(1, 2, 3), {0: Edit(additions=torch.ones(1, 3)), 1: Edit(additions=2 * torch.ones(1, 3))}
    with pytest.raises(RuntimeError, match="in the middle"), steered(blocks, edits):
        assert torch.equal(blocks[0](x), x + 1)
        steered_output, rest = blocks[1](x)
        assert torch.equal(steered_output, x + 2) and rest == "attention"
        raise RuntimeError("in the middle")
    assert torch.equal(blocks[0](x), x) and torch.equal(blocks[1](x)[0], x)


def test_a_block_that_the_model_lacks_leaves_no_hook_behind() -> None:
    blocks, edit = nn.ModuleList([nn.Identity()]), Edit(additions=torch.ones(1, 1))
    with pytest.raises(IndexError), steered(blocks, {0: edit, 7: edit}):
        pass
    assert torch.equal(blocks[0](torch.ones(1, 1, 1)), torch.ones(1, 1, 1))


def test_the_vector_takes_the_dtype_of_the_residual_stream() -> None:
    out = Edit(additions=torch.ones(1, 3), positions=torch.ones(1, 2, dtype=torch.bool))(
        torch.ones(1, 2, 3, dtype=torch.bfloat16)
    )
    assert out.dtype == torch.bfloat16


def test_slots_may_share_rows_of_additions() -> None:
    residual = torch.arange(24.0).reshape(4, 3, 2)
    additions, positions = torch.tensor([[0.0, 0.0], [1.0, 2.0]]), torch.tensor([[False] * 3, [True, False, True]])
    rows = torch.tensor([1, 0, 1, 1])
    shared = Edit(additions=additions, positions=positions, rows=rows)(residual)
    assert torch.equal(shared, Edit(additions=additions[rows], positions=positions[rows])(residual))
    assert torch.equal(shared - residual, additions[rows][:, None] * positions[rows][:, :, None])
