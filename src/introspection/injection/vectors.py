"""Control vectors: directions of a concept or of a persona, trained as repeng trains them, kept in its GGUF files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor

from introspection.engine.run import run_trials
from introspection.engine.trial import Trial
from introspection.files import ResultError, whole
from introspection.injection.repengs import ControlVector
from introspection.model.language_model import LanguageModel
from introspection.names import random_name
from introspection.settings import SignRule
from introspection.stimuli.chat import generation_prompt
from introspection.stimuli.prompts import Conversation, Stimuli

Float = NDArray[np.float32]
Double = NDArray[np.float64]

_LINEAR_ALGEBRA = ThreadpoolController()  # of numpy and scipy, whose threads stand in the way of torch's: one is faster


def concept_vectors(
    model: LanguageModel,
    stimuli: Stimuli,
    concepts: Sequence[str],
    suffixes: Sequence[str],
    *,
    sign: SignRule = "majority",
    tokens_per_batch: int | None = None,
    progress: bool = False,
) -> Iterator[tuple[str, ControlVector]]:
    """For each concept, the direction between being asked to talk about it and about anything (the study's vectors)."""
    sides = concept_states(model, stimuli, concepts, suffixes, tokens_per_batch=tokens_per_batch, progress=progress)
    for concept, positive, negative in sides:
        yield concept, contrast(model, positive, negative, sign)


def concept_states(
    model: LanguageModel,
    stimuli: Stimuli,
    concepts: Sequence[str],
    suffixes: Sequence[str],
    *,
    tokens_per_batch: int | None = None,
    progress: bool = False,
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """For each concept, the two sides of its contrast, each (suffixes, blocks + 1, hidden).

    The model reads `Please talk about {concept}.` up to the reply, once, and then each suffix; only the last token's
    residual stream is used. The states of the negative side are computed once for all concepts.
    """

    def states(concept: str) -> Tensor:
        trials = concept_trials(model.tokenizer, stimuli, concept, suffixes)
        return last_token_states(model, trials, tokens_per_batch, f"states: {concept}" if progress else None)

    negative = states(stimuli.anything)
    for concept in concepts:
        yield concept, states(concept), negative


def concept_trials(tokenizer: Any, stimuli: Stimuli, concept: str, suffixes: Sequence[str]) -> list[Trial]:
    """One side of a concept's contrast: the request to talk about it, and a reply that begins with each suffix."""
    return request_trials(tokenizer, stimuli.concept_prompt(concept), suffixes)


def request_trials(tokenizer: Any, request: Conversation, suffixes: Sequence[str]) -> list[Trial]:
    """A request, and a reply that begins with each suffix."""
    opening = generation_prompt(tokenizer, request)
    return text_trials(tokenizer, [opening + suffix for suffix in suffixes], templated=True)


def text_trials(tokenizer: Any, texts: Sequence[str], templated: bool = False) -> list[Trial]:
    """Plain texts, nothing injected. The tokens that all begin with stand for turn 1, which is read once.

    templated: the texts come from the chat template, which has written what the tokenizer would add before them.
    """
    rows = list(map(tuple, tokenizer(list(texts), add_special_tokens=not templated)["input_ids"])) if texts else []
    before_last = min((len(row) - 1 for row in rows), default=0)
    shared = next((place for place in range(before_last) if len({row[place] for row in rows}) > 1), before_last)
    return [Trial(row, (0, shared)) for row in rows]


def contrast(model: LanguageModel, positive: Tensor, negative: Tensor, sign: SignRule = "majority") -> ControlVector:
    """The control vector between two sides of a contrast, each (pairs, blocks + 1, hidden).

    Block k has the direction of the states after it, block 0 has none. The states may come from two models that read
    the same texts: then the vector is the model-contrastive one.
    """
    blocks = range(len(model.blocks) - 1, 0, -1)  # repeng's order, so that the files agree byte for byte
    directions = principal_directions(positive, negative, blocks, sign)
    return ControlVector(model_type=model.model.config.model_type, directions=directions)


def principal_directions(
    positive: Tensor, negative: Tensor, blocks: Iterable[int], sign: SignRule = "majority"
) -> dict[int, Float]:
    """By block, the direction of the states after it; the two sides are each (pairs, blocks + 1, hidden)."""
    return {
        block: principal_direction(positive[:, block + 1].numpy(), negative[:, block + 1].numpy(), sign)
        for block in blocks
    }


def last_token_states(
    model: LanguageModel, trials: Sequence[Trial], tokens_per_batch: int | None = None, progress: str | None = None
) -> Tensor:
    """The residual stream after the embedding and every block at the last token, (trials, blocks + 1, hidden).

    What follows the last block is taken after the final norm, as transformers reports it and repeng uses it.
    """
    states = run_trials(model, trials, {}, tokens_per_batch=tokens_per_batch, progress=progress)
    states[:, -1] = model.normed(states[:, -1]).cpu()
    return states


def principal_direction(positive: Float, negative: Float, sign: SignRule = "majority") -> Float:
    """repeng's `pca_center`, exactly: the first principal component of pairs that are each centred on their midpoint.

    positive, negative: (pairs, hidden). Returns a unit vector, (hidden,), whose sign follows the rule; the majority is
    repeng's.
    """
    differences = half_differences(positive, negative)
    return np.asarray(oriented(principal_component(differences), differences, sign), dtype=np.float32)


def half_differences(positive: Float, negative: Float) -> Double:
    """Half of what each pair differs by, (pairs, hidden): the pair centred on its midpoint is this and its negative.

    Raises ValueError where no pair differs, or a state is not finite.
    """
    differences = (positive.astype(np.float64) - negative.astype(np.float64)) / 2
    if not np.isfinite(differences).all() or not differences.any():
        raise ValueError("the two sides of the contrast do not differ (or are not finite), so there is no direction")
    return differences


def principal_component(differences: Double) -> Double:
    """The first principal component of centred pairs, a unit vector (hidden,) of either sign.

    It is the first right singular vector of the half differences (pairs, hidden); their Gram matrix on the smaller side
    gives it without a randomised solver.
    """
    pairs, hidden = differences.shape
    with _LINEAR_ALGEBRA.limit(limits=1, user_api="blas"):
        if pairs < hidden:
            direction = differences.T @ _last_eigenvector(differences @ differences.T)
        else:
            direction = _last_eigenvector(differences.T @ differences)
    return np.asarray(direction / np.linalg.norm(direction))


def oriented(component: Double, differences: Double, sign: SignRule) -> Double:
    """The component (hidden,), turned where the rule wants it: towards most positives, or towards their mean.

    Where as many positives lie on either side, the mean decides: an eigenvector's own sign is arbitrary.
    """
    projections = differences @ component
    balance = float(np.sign(projections).sum()) if sign == "majority" else 0.0
    return -component if (balance or projections.mean()) < 0 else component


def _last_eigenvector(symmetric: Double) -> Double:
    """The eigenvector of the largest eigenvalue."""
    last = len(symmetric) - 1
    _, vectors = scipy.linalg.eigh(symmetric, subset_by_index=(last, last))
    return np.asarray(vectors[:, 0])


def random_vectors(model: LanguageModel, count: int, seed: int) -> Iterator[tuple[str, ControlVector]]:
    """Control directions that mean nothing: independent, uniform on the unit sphere at every block."""
    generator = torch.Generator().manual_seed(seed)
    for number in range(1, count + 1):
        directions = {}
        for block in range(len(model.blocks) - 1, 0, -1):
            direction = torch.randn(model.hidden_size, generator=generator)
            directions[block] = (direction / direction.norm()).numpy()
        yield random_name(number), ControlVector(model_type=model.model.config.model_type, directions=directions)


def save_vector(vector: ControlVector, path: Path) -> None:
    """Write a GGUF file as repeng does, whole or not at all."""
    with whole(path) as unfinished:
        vector.export_gguf(unfinished)


def load_vector(path: Path) -> ControlVector:
    """Read a GGUF file. Raises ResultError with the stage that makes it where it is missing or no vector's."""
    remedy = f"make it with `dvc repro --force --single-item vectors@{path.parent.parent.name}`"
    if not path.is_file():
        raise ResultError(f"{path}: no such vector; {remedy}")
    try:
        vector = ControlVector.import_gguf(path)
        directions = {layer: np.array(value) for layer, value in vector.directions.items()}
        check_directions(path.stem, directions)
    except Exception as error:  # a damaged file makes its reader raise whatever the bytes lead to
        reason = " ".join(f"{error}".split())[:200]
        raise ResultError(f"{path}: no control vector that can be used ({reason}); {remedy}") from error
    return ControlVector(vector.model_type, directions)


def check_directions(name: str, directions: Mapping[int, Float]) -> None:
    """Raise ValueError unless there is a direction at every block from 1 on, finite, not zero, all of one width."""
    if sorted(directions) != list(range(1, len(directions) + 1)):
        raise ValueError(f"{name} has directions for the blocks {sorted(directions)}, not for 1 and all that follow")
    if len({direction.shape for direction in directions.values()}) > 1:
        raise ValueError(f"the directions of {name} have several widths")
    for block, direction in directions.items():
        if not np.isfinite(direction).all() or not direction.any():
            raise ValueError(f"the direction of {name} at block {block} is zero or not finite")
