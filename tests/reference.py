"""The study's own procedure as the tests ask it: the logits at the last token of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from repeng import ControlVector
from torch import Tensor

from benchmarks.post import lens_logits, read_turns
from introspection.model.language_model import LanguageModel
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Turn


def two_phase_logits(model: LanguageModel, *args: Any, **named: Any) -> Tensor:
    """Prefill turn by turn; wrap the model (or take another) for the injected turns only; the last token's logits."""
    logits: Tensor = two_phase_output(model, *args, **named).logits
    return logits[0, -1].float()


def two_phase_lens(model: LanguageModel, *args: Any, **named: Any) -> Tensor:
    """The logits that every layer would give at the last token of the same procedure, (blocks + 1, vocabulary)."""
    return lens_logits(model, two_phase_output(model, *args, **named, hidden_states=True))


def two_phase_output(
    model: LanguageModel,
    conversation: Sequence[Turn],
    vector: ControlVector | None,
    strength: float = 0.0,
    layers: tuple[int, int] = (1, 2),
    other: LanguageModel | None = None,
    hidden_states: bool = False,
) -> Any:
    """What the model returns for the last turn."""
    encoded = encode(model.tokenizer, conversation)
    scaled = strength * vector if vector is not None else None
    return read_turns(model, conversation, encoded, scaled, layers, other=other, hidden_states=hidden_states)
