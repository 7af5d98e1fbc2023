"""The residual stream splits where it lies: by what each slot continues, and with no copy of all of it."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from introspection.engine.memory import SLICE
from introspection.engine.stream import Stream
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
