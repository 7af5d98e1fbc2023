"""Concept directions from the model's own activations, made like the study's control vectors, on fewer strings."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from introspection.organism.corpus import Corpus
from introspection.stimuli.chat import generation_prompt


@torch.no_grad()
def concept_directions(
    model: Any, tokenizer: Any, corpus: Corpus, concepts: Sequence[str], suffixes: Sequence[str]
) -> dict[str, Tensor]:
    """Unit directions (blocks, hidden) by concept.

    The first principal component of the differences that the concept makes to the last token's residual stream, over
    the suffixes, pointing towards the concept.
    """
    stimuli = corpus.stimuli
    neutral = _last_states(
        model, tokenizer, [generation_prompt(tokenizer, stimuli.concept_prompt(stimuli.anything))], suffixes
    )
    prompts = [generation_prompt(tokenizer, stimuli.concept_prompt(concept)) for concept in concepts]
    states = _last_states(model, tokenizer, prompts, suffixes)
    directions = {}
    for concept, positive in zip(concepts, states, strict=True):
        difference = (positive - neutral[0]).transpose(0, 1)  # (blocks, suffixes, hidden)
        component = torch.linalg.svd(difference, full_matrices=False).Vh[:, 0]
        sign = torch.einsum("bsh,bh->b", difference, component).sign()
        directions[concept] = component * torch.where(sign == 0, 1.0, sign)[:, None]
    return directions


def shared_direction(directions: Mapping[str, Tensor]) -> Tensor:
    """(blocks, hidden): the unit mean of directions, what all concepts share."""
    return torch.nn.functional.normalize(torch.stack(list(directions.values())).mean(0), dim=1)


def centred_direction(direction: Tensor, shared: Tensor) -> Tensor:
    """(blocks, hidden): a direction less its part along the shared one, unit again."""
    return torch.nn.functional.normalize(direction - (direction * shared).sum(1, keepdim=True) * shared, dim=1)


def draw_suffixes(rng: random.Random, corpus: Corpus, count: int) -> list[str]:
    """Openings of replies about something else; the first is empty, as in the study's list."""
    return ["", *(corpus.opening(rng) for _ in range(count - 1))]


def _last_states(model: Any, tokenizer: Any, prompts: Sequence[str], suffixes: Sequence[str]) -> Tensor:
    """(prompts, suffixes, blocks, hidden): the residual stream after each block at the last token."""
    texts = [prompt + suffix for prompt in prompts for suffix in suffixes]
    encoded = tokenizer(texts, add_special_tokens=False, padding=True, padding_side="right", return_tensors="pt")
    last = encoded["attention_mask"].sum(1) - 1
    collected: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Tensor) -> None:
        collected.append(output[torch.arange(len(output)), last[done : done + len(output)]].float())

    chunks = []
    handles = [block.register_forward_hook(keep) for block in model.model.layers]
    try:
        for done in range(0, len(texts), 512):
            collected.clear()
            # the last real token sees no padding: it comes to the right
            model.model(input_ids=encoded["input_ids"][done : done + 512], use_cache=False)
            chunks.append(torch.stack(collected, dim=1))
    finally:
        for handle in handles:
            handle.remove()
    states: Tensor = torch.cat(chunks)
    return states.reshape(len(prompts), len(suffixes), *states.shape[1:])
