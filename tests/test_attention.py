"""Attention to a shared turn 1 gives what the library's own gives over a copy of it for every slot."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from introspection.engine.attention import shared_turn_1
from introspection.engine.cache import SharedLayer

TURN_1, ROWS, SIZE = 5, 3, 4


class Layer(SharedLayer):
    """A layer that says how often it was copied."""

    copied = 0

    def followed_by(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        self.copied += 1
        return super().followed_by(key_states, value_states)


def model_of(**changes: Any) -> Any:
    """What the context looks at of a model."""
    said = {"supports": True, "device": "cpu", "attention": "sdpa"} | changes
    backend = {} if said["supports"] is None else {"_supports_attention_backend": said["supports"]}
    return SimpleNamespace(
        model=SimpleNamespace(**backend),
        device=torch.device(said["device"]),
        text_config=SimpleNamespace(_attn_implementation=said["attention"]),
    )


def causal(length: int) -> Tensor:
    """A mask by which a token sees all of turn 1, and of its own slot what is not after it."""
    own = torch.ones(length, length, dtype=torch.bool).tril()
    return torch.cat([torch.ones(length, TURN_1, dtype=torch.bool), own], dim=1)[None, None]


def blind_to_the_first(length: int) -> Tensor:
    """A window that leaves out the first token of turn 1."""
    mask = causal(length)
    mask[..., 0] = False
    return mask


def blind_to_the_own_first(length: int) -> Tensor:
    """A mask of a slot that begins with a token of padding."""
    mask = causal(length)
    mask[..., :, TURN_1] = False
    return mask


def in_numbers(mask: Tensor) -> Tensor:
    """As what is added: 0 where a token is seen."""
    return torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))


def compared(
    rows: list[int] | None,
    slices: list[int],
    heads: tuple[int, int],
    length: int,
    mask: Tensor | None,
    dtype: torch.dtype = torch.float32,
    **named: Any,
) -> int:
    """Compare both, slice by slice, in the second of two layers. How often turn 1 was copied."""
    draws = torch.Generator().manual_seed(7)
    held, off = ROWS if rows is not None else 1, 1e-5 if dtype == torch.float32 else 2e-2
    keys, values = torch.randn(2, held, heads[0], TURN_1, SIZE, generator=draws).to(dtype)
    first = Layer(torch.zeros(1, heads[0], 2, SIZE), torch.zeros(1, heads[0], 2, SIZE), None)
    layer = Layer(keys, values, None if rows is None else torch.tensor(rows))
    module = SimpleNamespace(layer_idx=1, num_key_value_groups=heads[1] // heads[0], training=False, is_causal=True)
    of_slot = [0] * sum(slices) if rows is None else rows
    with shared_turn_1(model_of(), [first, layer]):
        for start, stop in pairwise([sum(slices[:place]) for place in range(len(slices) + 1)]):
            query = torch.randn(stop - start, heads[1], length, SIZE, generator=draws).to(dtype)
            own = torch.randn(2, stop - start, heads[0], length, SIZE, generator=draws).to(dtype)
            attend: Any = ALL_ATTENTION_FUNCTIONS["sdpa"]
            found, weights = attend(module, query, *layer.update(*own), mask, **named)
            all_keys, all_values = torch.cat([torch.stack([keys, values])[:, of_slot[start:stop]], own], dim=3)
            expected, _ = sdpa_attention_forward(module, query, all_keys, all_values, mask, **named)  # type: ignore[arg-type]
            assert weights is None and found.is_contiguous()
            torch.testing.assert_close(found, expected, atol=off, rtol=off)
    assert first.copied == 0
    return layer.copied


MASKS = {
    "all before": causal,
    "all before, in numbers": lambda length: in_numbers(causal(length)),
    "a window": blind_to_the_first,
    "a window, in numbers": lambda length: in_numbers(blind_to_the_first(length)),
    "padded": blind_to_the_own_first,
    "padded, in numbers": lambda length: in_numbers(blind_to_the_own_first(length)),
}


@given(
    st.lists(st.integers(0, ROWS - 1), min_size=2, max_size=7),
    st.integers(1, 6),
    st.sampled_from([(1, 1), (2, 2), (1, 3), (2, 4)]),
    st.integers(1, 4),
    st.sampled_from(sorted(MASKS)),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.sampled_from([{}, {"scaling": 0.3}]),
)
def test_slots_attend_as_if_each_had_a_copy(
    rows: list[int],
    first: int,
    heads: tuple[int, int],
    length: int,
    mask: str,
    dtype: torch.dtype,
    named: dict[str, Any],
) -> None:
    slices = [min(first, len(rows) - 1), len(rows) - min(first, len(rows) - 1)]
    seen = MASKS[mask](length)
    copied = compared(rows, slices, heads, length, seen if seen.dtype == torch.bool else seen.to(dtype), dtype, **named)
    assert copied == (0 if mask.startswith("all before") else len(slices))


def test_a_slot_alone_reads_the_only_row() -> None:
    assert compared(None, [1], (2, 4), 3, causal(3)) == 0
    assert compared(None, [1], (2, 4), 3, blind_to_the_first(3)) == 1


def test_a_token_alone_needs_no_mask() -> None:
    assert compared([0, 2], [2], (2, 2), 1, None) == 0


def test_more_tokens_without_a_mask_and_a_bias_by_position_are_the_librarys() -> None:
    assert compared([0, 2], [2], (2, 2), 2, None) == 1
    bias = torch.randn(1, 4, 3, TURN_1 + 3, generator=torch.Generator().manual_seed(1))
    assert compared([0, 2, 1], [3], (2, 4), 3, causal(3), position_bias=bias) == 1
    assert compared([0, 2], [2], (2, 2), 1, None, position_bias=bias[:, :2, :1, : TURN_1 + 1]) == 1


@pytest.mark.parametrize(
    "changes", [{"supports": False}, {"supports": None}, {"device": "meta"}, {"attention": "eager"}]
)
def test_elsewhere_there_are_copies(changes: dict[str, Any]) -> None:
    layer, new = (
        Layer(torch.ones(1, 1, TURN_1, SIZE), torch.ones(1, 1, TURN_1, SIZE), None),
        torch.zeros(2, 1, 1, 1, SIZE),
    )
    with shared_turn_1(model_of(**changes), [layer]):
        assert "sdpa" not in ALL_ATTENTION_FUNCTIONS._local_mapping
        keys, values = SharedLayer(layer.keys[:, :, :0], layer.values[:, :, :0], None).update(*new)
        assert [len(each[0, 0]) for each in layer.update(keys, values)] == [TURN_1 + 1] * 2


def test_the_librarys_attention_is_back_after_an_error() -> None:
    with pytest.raises(KeyError), shared_turn_1(model_of(), []):
        raise KeyError
    assert "sdpa" not in ALL_ATTENTION_FUNCTIONS._local_mapping
