"""The study's own procedure, written after its post: repeng's ControlModel and a KV cache filled turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

import repeng.control
import torch
from repeng import ControlModel, ControlVector
from torch import Tensor
from transformers import DynamicCache

from introspection.chat import encode
from introspection.models import LanguageModel
from introspection.stimuli import Turn


def two_phase_logits(
    model: LanguageModel,
    conversation: Sequence[Turn],
    vector: ControlVector | None,
    strength: float = 0.0,
    layers: tuple[int, int] = (1, 2),
    other: LanguageModel | None = None,
) -> Tensor:
    """Prefill turn by turn; wrap the model (or take another) for the injected turns only; the last token's logits."""
    logits: Tensor = two_phase_output(model, conversation, vector, strength, layers, other).logits
    return logits[0, -1].float()


def two_phase_lens(model: LanguageModel, *args: Any, **named: Any) -> Tensor:
    """The logits that every layer would give at the last token of the same procedure, (blocks + 1, vocabulary)."""
    hidden = torch.stack([states[0, -1] for states in two_phase_output(model, *args, **named).hidden_states])
    with torch.inference_mode():
        normed = torch.cat([model.model.model.norm(hidden[:-1]), hidden[-1:]])  # the last entry is normed already
        logits: Tensor = model.model.lm_head(normed)
    return logits


def two_phase_output(
    model: LanguageModel,
    conversation: Sequence[Turn],
    vector: ControlVector | None,
    strength: float = 0.0,
    layers: tuple[int, int] = (1, 2),
    other: LanguageModel | None = None,
) -> Any:
    """What the model returns for the last turn, hidden states included."""
    cache = DynamicCache()
    encoded = encode(model.tokenizer, conversation)
    start, output = 0, None
    for turn, end in zip(conversation, encoded.boundaries, strict=True):
        ids = torch.tensor([encoded.token_ids[start:end]])
        start = end
        if not ids.numel():  # a system turn that the template does not render
            continue
        if turn.injected and other is not None:
            output = _prefill(other.model, ids, cache)
        elif turn.injected and vector is not None:
            # repeng 0.4.0 knows only two names for the list of blocks
            with mock.patch.object(repeng.control, "model_layer_list", lambda _: model.blocks):
                wrapped = ControlModel(model.model, list(range(layers[0], layers[1] + 1)))
                wrapped.set_control(strength * vector)
                output = _prefill(wrapped, ids, cache)
                wrapped.reset()
                wrapped.unwrap()
        else:
            output = _prefill(model.model, ids, cache)
    assert output is not None
    return output


@torch.inference_mode()
def _prefill(model: Any, ids: Tensor, cache: DynamicCache) -> Any:
    return model(input_ids=ids, past_key_values=cache, use_cache=True, output_hidden_states=True)
