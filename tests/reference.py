"""The study's own procedure as the tests ask it: repeng's vectors, the logits at a conversation's last token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pytest
import torch
from repeng import ControlModel, ControlVector, DatasetEntry
from torch import Tensor
from transformers import DynamicCache

from benchmarks.post import lens_logits, read_turns
from introspection.engine.trial import Trial
from introspection.model.language_model import LanguageModel
from introspection.stimuli.chat import encode, generation_prompt
from introspection.stimuli.prompts import Stimuli, Turn


def trained_by_repeng(model: LanguageModel, stimuli: Stimuli, concept: str, suffixes: Sequence[str]) -> ControlVector:
    """A concept's vector as repeng's own trainer makes it."""
    sides = [generation_prompt(model.tokenizer, stimuli.concept_prompt(c)) for c in (concept, stimuli.anything)]
    data = [DatasetEntry(positive=sides[0] + suffix, negative=sides[1] + suffix) for suffix in suffixes]
    with pytest.MonkeyPatch.context() as patch:  # repeng 0.4.0 knows only two names for the list of blocks
        patch.setattr("repeng.extract.model_layer_list", lambda _: model.blocks)
        return ControlVector.train(model.model, model.tokenizer, data, method="pca_center", batch_size=64)


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


@torch.inference_mode()
def piecewise_logits(model: LanguageModel, row: Trial, vectors: Mapping[str, ControlVector]) -> Tensor:
    """The same procedure for any steered positions: the tokens go through the model run by run, each run of tokens at
    which the same is injected in a pass of its own, wrapped by repeng; the last token's logits."""

    def control_at(position: int) -> tuple[int, ...]:
        """The numbers of the injections at a position."""
        return tuple(
            number
            for number, each in enumerate(row.injections)
            if position in (range(*row.turn_1) if each.positions is None else each.positions)
        )

    cache, output = DynamicCache(), None
    for numbers, run in groupby(range(len(row.token_ids)), key=control_at):
        ids = torch.tensor([[row.token_ids[position] for position in run]])
        sums = {block: np.zeros(model.hidden_size, np.float32) for block in range(1, len(model.blocks))}
        for number in numbers:
            each = row.injections[number]
            for block in range(each.first_layer, each.last_layer + 1):
                sums[block] += each.strength * vectors[each.vector].directions[block]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("repeng.control.model_layer_list", lambda _: model.blocks)
            wrapped = ControlModel(model.model, list(sums))
            wrapped.set_control(ControlVector("any", sums))
            output = wrapped(input_ids=ids, past_key_values=cache, use_cache=True)
            wrapped.unwrap()
    assert output is not None
    logits: Tensor = output.logits[0, -1].float()
    return logits
