"""Concept directions from the model's own activations, made like the study's control vectors, on fewer strings."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from introspection.organism.corpus import Corpus
from introspection.stimuli.chat import generation_prompt


class Directions(NamedTuple):
    """What may be injected in training, unit rows.

    concepts: (blocks, hidden) by concept. covariance, halves: (directions, blocks, hidden), random ones with the
    covariance of the model's states, and contrasts between two random halves of texts about no concept; none where no
    rule asks for them.
    """

    concepts: dict[str, Tensor]
    covariance: Tensor
    halves: Tensor


NO_DIRECTIONS = Directions({}, torch.empty(0), torch.empty(0))


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
    return {concept: _component(positive - neutral[0]) for concept, positive in zip(concepts, states, strict=True)}


@torch.no_grad()
def concept_free_directions(
    model: Any, tokenizer: Any, corpus: Corpus, suffixes: Sequence[str], count: int, seed: int
) -> tuple[Tensor, Tensor]:
    """`count` random directions with the covariance of states, and as many contrasts of halves, as in `Directions`.

    The states are those after the request without a concept, before each of the suffixes.
    """
    stimuli, generator = corpus.stimuli, torch.Generator().manual_seed(seed)
    request = generation_prompt(tokenizer, stimuli.concept_prompt(stimuli.anything))
    states = _last_states(model, tokenizer, [request], suffixes)[0]  # (suffixes, blocks, hidden)
    weights = torch.randn(count, len(states), generator=generator)
    drawn = torch.einsum("ns,sbh->nbh", weights, states - states.mean(0))
    orders = [torch.randperm(len(states), generator=generator) for _ in range(count)]
    half = len(states) // 2
    halves = [_component(states[order[:half]] - states[order[half : 2 * half]]) for order in orders]
    return torch.nn.functional.normalize(drawn, dim=2), torch.stack(halves)


def _component(differences: Tensor) -> Tensor:
    """The first principal component of differences, (pairs, blocks, hidden), towards their sum, a row a block."""
    by_block = differences.transpose(0, 1)
    component: Tensor = torch.linalg.svd(by_block, full_matrices=False).Vh[:, 0]
    sign = torch.einsum("bsh,bh->b", by_block, component).sign()
    return component * torch.where(sign == 0, 1.0, sign)[:, None]


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
