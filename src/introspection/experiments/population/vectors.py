"""The population's directions that a model's own states are needed for, trained in one run and kept in one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from torch import Tensor

from introspection import names
from introspection.engine.trial import Directions, Trial
from introspection.experiments.population.concepts import Population
from introspection.files import whole
from introspection.injection.matched import chance, covariance_vectors
from introspection.injection.vectors import Float, check_directions, contrast, last_token_states, request_trials
from introspection.model.language_model import LanguageModel
from introspection.sources.tensors import explained_tensors
from introspection.stimuli.prompts import Conversation, Stimuli

VECTORS = Path("build/population")  # large, and soon made again: no result

Named = tuple[str, Mapping[int, Float]]


def training_trials(
    tokenizer: Any, stimuli: Stimuli, population: Population, suffixes: Sequence[str]
) -> list[list[Trial]]:
    """What the model reads: every concept's request and every one without a concept, each before every suffix."""
    requests = [stimuli.concept_prompt(concept) for concept in population.concepts]
    return [request_trials(tokenizer, each, suffixes) for each in (*requests, *population.requests(stimuli))]


def trained_directions(
    model: LanguageModel,
    stimuli: Stimuli,
    population: Population,
    suffixes: Sequence[str],
    count: int,
    seed: int,
    tokens_per_batch: int | None = None,
) -> Iterator[Named]:
    """The concepts' vectors, and `count` directions of each kind that is drawn from states or made of them.

    All are unit vectors at blocks 1 and up. The negative side of every concept's contrast is read once, and gives the
    covariance and the halves too. Of other states only those of the requests without a concept are kept.
    """

    def states(request: Conversation) -> Tensor:
        trials = request_trials(model.tokenizer, request, suffixes)
        return last_token_states(model, trials, tokens_per_batch, request[-1].content)

    anything, *phrasings = population.requests(stimuli)
    negative = states(anything)
    for concept in population.concepts:
        yield concept, contrast(model, states(stimuli.concept_prompt(concept)), negative).directions
    after = {block: negative[:, block + 1].numpy() for block in range(len(model.blocks) - 1, 0, -1)}
    yield from covariance_vectors(after, count, seed)
    yield from halves_vectors(model, negative, count, seed)
    yield from phrasing_vectors(model, [negative, *(states(each) for each in phrasings)], count, seed)


def halves_vectors(model: LanguageModel, states: Tensor, count: int, seed: int) -> Iterator[Named]:
    """Contrasts between two random halves of the same texts, (texts, blocks + 1, hidden), paired at random."""
    generator, half = chance(seed, "halves"), len(states) // 2
    for name in names.numbered("halves", count):
        order = generator.permutation(len(states))
        yield name, contrast(model, states[order[:half]], states[order[half : 2 * half]]).directions


def phrasing_vectors(model: LanguageModel, states: Sequence[Tensor], count: int, seed: int) -> Iterator[Named]:
    """Contrasts between two requests without a concept, made as a concept's: at most one of each pair, shuffled.

    states: of each request, (suffixes, blocks + 1, hidden).
    """
    generator = chance(seed, "phrasing")
    pairs = generator.permuted(list(combinations(range(len(states)), 2)), axis=1)  # which is positive is chance too
    generator.shuffle(pairs)
    for name, (positive, negative) in zip(names.numbered("phrasing", count), islice(pairs, count), strict=False):
        yield name, contrast(model, states[positive], states[negative]).directions


def phrasing_count(population: Population, count: int) -> int:
    """How many contrasts of requests there are where `count` are asked for."""
    requests = len(population.phrasings) + 1
    return min(count, requests * (requests - 1) // 2)


def save_directions(directions: Directions, path: Path) -> None:
    """Write directions to one safetensors file, whole or not at all: by name, (blocks, hidden) from block 1 on."""
    tensors = {name: np.stack([each[block] for block in sorted(each)]) for name, each in directions.items()}
    with whole(path) as unfinished:
        save_file(tensors, unfinished)


def load_directions(path: Path) -> Directions:
    """Read what `save_directions` wrote. Raises ResultError where it is missing or another thing."""
    with explained_tensors(path, "population-vectors"):
        directions = {name: dict(enumerate(rows, start=1)) for name, rows in load_file(path).items()}
        for name, each in directions.items():
            check_directions(name, each)
    return directions
