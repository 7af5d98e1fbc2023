"""The state of a training comes back as it was saved, or not at all, and is no pickle."""

from __future__ import annotations

import pickle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from introspection.learning.checkpoint import Checkpoint

TENSORS = st.sampled_from(
    [torch.empty(0), torch.tensor(3.5), torch.arange(6.0).reshape(2, 3).T, torch.ones(2, dtype=torch.bfloat16)]
)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | TENSORS
STATES = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal in type and content, tensors in each element."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


@given(st.dictionaries(st.text(max_size=3), STATES, max_size=4))
def test_a_state_comes_back_as_it_was(state: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder), "it", ["settings"])
        checkpoint.save(state)
        assert same(state, Checkpoint(Path(folder), "it", ["settings"]).load())
        assert Checkpoint(Path(folder), "it", ["others"]).load() is None


def test_tied_weights_are_saved_as_often_as_they_stand(tmp_path: Path) -> None:
    weight = torch.arange(4.0)
    checkpoint = Checkpoint(tmp_path, "it", [])
    checkpoint.save({"embedding": weight, "unembedding": weight, "half": weight[:2]})
    assert same(checkpoint.load(), {"embedding": weight, "unembedding": weight, "half": weight[:2]})


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "pickle"])
def test_a_damaged_state_is_nothing_and_said_to_be(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = Checkpoint(tmp_path, "it", [])
    checkpoint.save({"weights": torch.ones(3), "step": 4})
    whole = checkpoint.path.read_bytes()
    flipped = bytearray(whole)
    flipped[-2] ^= 8
    contents = {"empty": b"", "cut": whole[:-5], "flipped": bytes(flipped), "text": b"no state"}
    checkpoint.path.write_bytes(contents.get(damage, pickle.dumps({"weights": 1})))
    assert checkpoint.load() is None
    assert capsys.readouterr().err == f"{checkpoint.path}: damaged, so this training begins anew\n"


def test_a_training_without_a_state_begins_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Checkpoint(tmp_path, "it", []).load() is None
    assert capsys.readouterr().err == ""
