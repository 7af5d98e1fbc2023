"""The residual stream splits where it lies: by what each slot continues, and with no copy of all of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from introspection.engine.memory import SLICE
from introspection.engine.stream import Stream, in_slices
from introspection.engine.tree import numbered


@st.composite
def splits(draw: st.DrawFn) -> list[list[int]]:
    """What the slots after each of some blocks continue, numbered as a tree numbers them."""
    slots, found = [0] * draw(st.integers(1, 9)), []
    for _ in range(draw(st.integers(1, 4))):
        branches = draw(st.lists(st.integers(0, 2), min_size=len(slots), max_size=len(slots)))
        slots, distinct = numbered(list(zip(slots, branches, strict=True)))
        found.append([parent for parent, _ in distinct])
    return found


@given(splits(), st.sampled_from([1, 3, SLICE // 2, SLICE]))
def test_slots_that_split_continue_what_their_parents_hold(every: list[list[int]], length: int) -> None:
    stream, residual = Stream(max(map(len, every))), torch.arange(2.0 * length).reshape(1, length, 2)
    for parents in every:
        expected = torch.stack([residual[parent] for parent in parents])
        residual = stream.split(residual, torch.tensor(parents))
        assert torch.equal(residual, expected)
        residual += torch.arange(len(residual))[:, None, None]  # what is added tells the slots apart


def test_the_stream_of_a_pass_is_there_once() -> None:
    stream, residual = Stream(5), torch.zeros(1, 2, 3)
    first = stream.split(residual, torch.tensor([0, 0]))
    second = stream.split(first, torch.tensor([0, 0, 1, 1, 1]))
    assert first.data_ptr() == second.data_ptr() != residual.data_ptr()


def test_a_stream_that_was_moved_goes_on_where_it_was_moved_to() -> None:
    stream = Stream(3)
    moved = stream.split(torch.ones(1, 2, 3), torch.tensor([0, 0])).clone()
    assert torch.equal(stream.split(moved, torch.tensor([0, 1, 1])), torch.ones(3, 2, 3))


class Block(nn.Module):
    """Adds one, to what it is given by place or by name, and says how many slots that are."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.whole, self.sizes = whole, list[int]()

    def forward(self, hidden_states: Tensor, mask: None = None) -> Tensor | tuple[Tensor, str]:
        self.sizes.append(len(hidden_states))
        return hidden_states + 1 if self.whole else (hidden_states + 1, "weights")


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("length", "sizes"), [(SLICE // 2, [2, 2, 1]), (SLICE, [1] * 5), (SLICE + 1, [1] * 5), (7, [5])]
)
def test_a_block_computes_as_many_slots_at_a_time_as_fit(
    length: int, sizes: list[int], named: bool, whole: bool
) -> None:
    blocks = nn.ModuleList([Block(whole), Block(whole)])
    residual = torch.arange(5.0 * length * 2).reshape(5, length, 2)
    expected = residual + 2
    with in_slices(blocks):
        for block in blocks:
            output = block(hidden_states=residual) if named else block(residual, None)
            assert whole or output[1] == "weights"
            residual = output if whole else output[0]
    assert torch.equal(residual, expected)
    assert [block.sizes for block in blocks] == [sizes, sizes]
    assert torch.equal(blocks[0](residual) if whole else blocks[0](residual)[0], residual + 1), "as it was"
    assert blocks[0].sizes[-1] == 5
