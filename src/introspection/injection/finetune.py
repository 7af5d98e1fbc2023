"""A finetune beside its base model, one of them in memory at a time: the persona vector, and turn 1 read by another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from repeng import ControlVector
from safetensors import safe_open
from safetensors.torch import save_file

from introspection.engine.cache import Prefill
from introspection.engine.run import prefill
from introspection.files import whole
from introspection.injection.vectors import contrast, last_token_states, text_trials
from introspection.model.loading import resident
from introspection.settings import ModelSettings
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Conversation


def persona_vector(
    settings: ModelSettings, prompts: Sequence[str], tokens_per_batch: int | None = None
) -> ControlVector:
    """The model-contrastive vector: what the finetune's activations have over the model's on the same raw prompts.

    Raises ValueError for a model without a finetune.
    """
    with resident(settings) as base:
        trials = text_trials(base.tokenizer, prompts)  # the finetune reads the same tokens, whatever its tokenizer is
        before = last_token_states(base, trials, tokens_per_batch)
    with resident(settings.finetune()) as finetune:
        after = last_token_states(finetune, trials, tokens_per_batch)
        return contrast(finetune, after, before)


def finetune_prefills(settings: ModelSettings, conversations: Mapping[str, Conversation]) -> dict[str, Prefill]:
    """For each conversation, what is before turn 1 read by the model and turn 1 read by its finetune.

    The caches wait in host memory while the models change places. Raises ValueError for a model without a finetune.
    """
    with resident(settings) as base:
        encoded = {key: encode(base.tokenizer, conversation) for key, conversation in conversations.items()}
        opened = {
            key: prefill(base, text.token_ids[: text.steered[0]]) if text.steered[0] else None
            for key, text in encoded.items()
        }
    with resident(settings.finetune()) as finetune:
        return {key: prefill(finetune, text.token_ids[: text.steered[1]], opened[key]) for key, text in encoded.items()}


def save_prefills(prefills: Mapping[str, Prefill], path: Path) -> None:
    """Write caches to one safetensors file, whole or not at all; without any, a file that holds none."""
    tensors = {}
    for key, cache in prefills.items():
        for block, (keys, values) in enumerate(zip(cache.keys, cache.values, strict=True)):
            tensors[f"{key}.{block:04d}.keys"] = keys.contiguous()
            tensors[f"{key}.{block:04d}.values"] = values.contiguous()
    metadata = {"token_ids": json.dumps({key: cache.token_ids for key, cache in prefills.items()})}
    with whole(path) as unfinished:
        save_file(tensors, unfinished, metadata)


def load_prefills(path: Path) -> dict[str, Prefill]:
    """Read the caches that `save_prefills` wrote."""
    prefills = {}
    with safe_open(path, framework="pt") as file:
        names = sorted(file.keys())
        for key, token_ids in json.loads(file.metadata()["token_ids"]).items():
            keys = tuple(file.get_tensor(n) for n in names if n.startswith(f"{key}.") and n.endswith(".keys"))
            values = tuple(file.get_tensor(n) for n in names if n.startswith(f"{key}.") and n.endswith(".values"))
            prefills[key] = Prefill(tuple(token_ids), keys, values)
    return prefills
