"""Run trials: rows of tokens with steered positions, through a model together, read at their last token."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm
from transformers.cache_utils import Cache, DynamicCache

from introspection.engine.batches import plan_after_turn_1, plan_batches
from introspection.engine.cache import GrowingCache, Prefill, SharedLayer
from introspection.engine.executor import executor
from introspection.engine.reading import Reading, reading_of
from introspection.engine.trial import Directions, Trial
from introspection.model.language_model import LanguageModel


@torch.inference_mode()
def prefill(model: LanguageModel, token_ids: tuple[int, ...], before: Prefill | None = None) -> Prefill:
    """Read `token_ids` after what `before` holds, and keep the cache of both in host memory.

    `before` may come from another model of the same shape: that is how one model reads what another has read.
    """
    if before is None:
        cache: Cache = DynamicCache()
        new = token_ids
    else:
        layers = [SharedLayer(k, v, None) for k, v in zip(before.keys, before.values, strict=True)]
        cache = GrowingCache(layers)
        new = token_ids[len(before.token_ids) :]
    model.backbone(input_ids=torch.tensor([new], device=model.device), past_key_values=cache, use_cache=True)
    keys, values = zip(*((layer.keys, layer.values) for layer in cache.layers), strict=True)
    return Prefill(token_ids, tuple(k.cpu() for k in keys), tuple(v.cpu() for v in values))


def run_trials(
    model: LanguageModel,
    trials: Sequence[Trial],
    directions: Directions,
    *,
    layers: Sequence[int] | None = None,
    tokens_per_batch: int | None = None,
    progress: str | None = None,
) -> Tensor:
    """The residual stream at each trial's last token, (rows, layers, hidden) in float32 on the CPU.

    layers: which depths to keep, 0 being the embedding, k what follows block k-1; all blocks + 1 of them by default.
    tokens_per_batch: how many tokens go through the model together; None takes what memory holds. Batches are read by
    the executor of the context, in this process without one.
    Raises NotFiniteError where a state is not finite, KeyError for a vector without a direction at a steered block.
    """
    batches = plan_batches(trials, len(model.blocks), tokens_per_batch or executor().tokens(model))
    kept = _kept(model, layers)
    return _run(model, [reading_of(batch, directions, kept) for batch in batches], kept, progress)


def run_prefilled(
    model: LanguageModel,
    prefills: Sequence[Prefill],
    continuations: Sequence[tuple[int, ...]],
    *,
    layers: Sequence[int] | None = None,
    tokens_per_batch: int | None = None,
) -> Tensor:
    """Like `run_trials`, for turns read after a turn 1 that another model has prefilled, each given once for each turn.

    Raises ValueError for a turn without a token.
    """
    if not all(continuations):
        raise ValueError("there is nothing to read after a turn 1 that another model has prefilled")
    trials = [
        Trial(before.token_ids + ids, (0, len(before.token_ids)))
        for before, ids in zip(prefills, continuations, strict=True)
    ]
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, before in enumerate(prefills):
        rows_of[id(before)].append(row)
    tokens, kept = tokens_per_batch or executor().tokens(model), _kept(model, layers)
    readings = [
        reading_of(batch, {}, kept, prefills[batch.rows[0]])
        for rows in rows_of.values()
        for batch in plan_after_turn_1(trials, rows, len(model.blocks), tokens)
    ]
    return _run(model, readings, kept)


def _kept(model: LanguageModel, layers: Sequence[int] | None) -> list[int]:
    return list(range(len(model.blocks) + 1)) if layers is None else list(layers)


def _run(
    model: LanguageModel, readings: Sequence[Reading], layers: Sequence[int], progress: str | None = None
) -> Tensor:
    """Have every batch read; the states in the order of the trials."""
    count = sum(len(reading.batch.rows) for reading in readings)
    states = torch.empty(count, len(layers), model.hidden_size)
    with tqdm(total=count, desc=progress, unit="trial", disable=progress is None) as bar:
        for number, found in executor().read(model, readings):
            rows = list(readings[number].batch.rows)
            states[rows] = found
            bar.update(len(rows))
    return states
