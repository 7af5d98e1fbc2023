"""How far an injection moves what a model says next: a divergence, on text into all of which it is injected."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from introspection.engine.run import run_trials
from introspection.engine.trial import Directions, Injection, Trial
from introspection.injection.vectors import text_trials
from introspection.model.language_model import LanguageModel


def steered_trials(passages: Sequence[Trial], injections: Sequence[Injection]) -> list[Trial]:
    """Every passage with nothing injected, then under every injection, at all of its positions."""
    arms = [(), *((injection,) for injection in injections)]
    return [Trial(text.token_ids, (0, len(text.token_ids)), arm) for arm in arms for text in passages]


def divergences(
    model: LanguageModel,
    passages: Sequence[str],
    injections: Sequence[Injection],
    directions: Directions,
    tokens_per_batch: int | None = None,
    progress: str = "neutral text",
) -> list[float]:
    """For each injection, KL(steered || unsteered) in nats of the token after a passage, mean over the passages."""
    rows = steered_trials(text_trials(model.tokenizer, passages), injections)
    states = run_trials(
        model, rows, directions, layers=[len(model.blocks)], tokens_per_batch=tokens_per_batch, progress=progress
    )
    unsteered, *steered = states[:, 0].split(len(passages))
    before = _log_probabilities(model, unsteered)
    return [_divergence(_log_probabilities(model, each), before) for each in steered]


def _log_probabilities(model: LanguageModel, states: Tensor) -> Tensor:
    """(rows, hidden) to (rows, vocabulary), in float64 on the CPU."""
    return torch.log_softmax(model.logits(states).double(), dim=-1).cpu()


def _divergence(steered: Tensor, unsteered: Tensor) -> float:
    mean = (steered.exp() * (steered - unsteered)).sum(dim=-1).mean()
    return max(0.0, float(mean))  # rounding may leave a zero below zero
