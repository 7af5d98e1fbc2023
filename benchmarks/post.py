"""The study's own procedure, written after its post: repeng's ControlModel and a KV cache filled turn by turn.

Tests hold the engine's results against it, benchmarks the engine's time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

import repeng.control
import torch
from repeng import ControlModel, ControlVector
from torch import Tensor
from transformers import DynamicCache

from introspection.model.language_model import LanguageModel
from introspection.stimuli.chat import EncodedConversation
from introspection.stimuli.prompts import Turn


def read_turns(
    model: LanguageModel,
    conversation: Sequence[Turn],
    encoded: EncodedConversation,
    vector: ControlVector | None,
    layers: tuple[int, int] = (1, 2),
    *,
    other: LanguageModel | None = None,
    hidden_states: bool = False,
) -> Any:
    """Prefill turn by turn; wrap the model (or take another) for the injected turns only.

    vector: strength included. Returns what the model returns for the last turn.
    """
    cache, start, output = DynamicCache(), 0, None
    for turn, end in zip(conversation, encoded.boundaries, strict=True):
        ids = torch.tensor([encoded.token_ids[start:end]])
        start = end
        if not ids.numel():  # a system turn that the template does not render
            continue
        if turn.injected and other is not None:
            output = _prefill(other.model, ids, cache, hidden_states)
        elif turn.injected and vector is not None:
            # repeng 0.4.0 knows only two names for the list of blocks
            with mock.patch.object(repeng.control, "model_layer_list", lambda _: model.blocks):
                wrapped = ControlModel(model.model, list(range(layers[0], layers[1] + 1)))
                wrapped.set_control(vector)
                output = _prefill(wrapped, ids, cache, hidden_states)
                wrapped.reset()
                wrapped.unwrap()
        else:
            output = _prefill(model.model, ids, cache, hidden_states)
    assert output is not None
    return output


def lens_logits(model: LanguageModel, output: Any) -> Tensor:
    """The logits that every layer would give at the last token, (blocks + 1, vocabulary)."""
    hidden = torch.stack([states[0, -1] for states in output.hidden_states])
    with torch.inference_mode():
        normed = torch.cat([model.final_norm(hidden[:-1]), hidden[-1:]])  # the last entry is normed already
        logits: Tensor = model.unembedding(normed)
    return logits


@torch.inference_mode()
def _prefill(model: Any, ids: Tensor, cache: DynamicCache, hidden_states: bool) -> Any:
    return model(input_ids=ids, past_key_values=cache, use_cache=True, output_hidden_states=hidden_states)
