"""Attention to a turn 1 that many slots share: its keys and values are read where they lie, with no copy for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from introspection.engine.cache import SharedLayer
from introspection.model.language_model import LanguageModel

_SDPA = "sdpa"


@contextmanager
def shared_turn_1(model: LanguageModel, layers: list[SharedLayer]) -> Iterator[None]:
    """Inside the context, slots attend to the turn 1 that `layers` hold and to their own tokens, one after the other.

    The two are put together by their log-sum-exp, which is the softmax over both (Dao et al. 2022, section 3.1). Where
    torch has no kernel that gives it (elsewhere than on a CPU), and for families whose attention transformers does not
    let others compute, each slot is given a copy of the keys and values that it reads, as it is outside the context.
    """
    replaceable = getattr(model.model, "_supports_attention_backend", False)
    if model.device.type != "cpu" or model.text_config._attn_implementation != _SDPA or not replaceable:
        yield
        return
    for layer in layers:
        layer.copies = False
    ALL_ATTENTION_FUNCTIONS[_SDPA] = partial(_attend, layers)
    try:
        yield
    finally:
        del ALL_ATTENTION_FUNCTIONS[_SDPA]  # the library's own is what is left


def _attend(
    layers: list[SharedLayer],
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **named: Any,
) -> tuple[Tensor, None]:
    """The attention of a slice of slots, (slots, heads, length, head size) to (slots, length, heads, head size)."""
    layer = layers[module.layer_idx]
    if named.get("position_bias") is not None or not _sees_all_before(attention_mask, query.shape[2], layer.length):
        keys, values = layer.followed_by(key, value)
        output, _ = sdpa_attention_forward(module, query, keys, values, attention_mask, scaling=scaling, **named)
        return output, None
    group = query.shape[1] // key.shape[1]  # heads that share a head of keys and values
    own, own_weight = _flash(query, key, value, causal=True, scaling=scaling)
    before, weight = torch.empty_like(own), torch.empty_like(own_weight)
    start = 0
    for row, slots in groupby(layer.rows_read()):
        stop = start + len(list(slots))
        part = query[start:stop].unflatten(1, (-1, group)).transpose(0, 1)  # (heads, slots, group, length, size)
        found, of_part = _flash(
            part.flatten(1, 3).unsqueeze(0),
            layer.keys[row : row + 1],
            layer.values[row : row + 1],
            causal=False,
            scaling=scaling,
        )
        before[start:stop] = found.reshape(part.shape).transpose(0, 1).flatten(1, 2)
        weight[start:stop] = of_part.reshape(part.shape[:-1]).transpose(0, 1).flatten(1, 2)
        start = stop
    share = torch.sigmoid(own_weight - weight).unsqueeze(-1).to(own.dtype)  # the kernel weighs in float32
    return torch.lerp(before, own, share).transpose(1, 2).contiguous(), None


def _sees_all_before(mask: Tensor | None, length: int, before: int) -> bool:
    """Whether each token sees all that comes before the slot, and of the slot itself what is not after it."""
    if mask is None:
        return length == 1
    seen = mask if mask.dtype == torch.bool else mask == 0
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    return bool(seen[..., :before].all()) and bool((seen[..., before:] == causal).all())


def _flash(query: Tensor, key: Tensor, value: Tensor, causal: bool, scaling: float | None) -> tuple[Tensor, Tensor]:
    """Attention, and the log-sum-exp of what it is a softmax of, without its last dimension."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    output, log_sum = kernel(query, key, value, 0.0, causal, scale=scaling)
    return output, log_sum
