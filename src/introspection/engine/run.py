"""Run trials: rows of tokens with steered positions, through a model together, read at their last token."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm
from transformers.cache_utils import Cache, DynamicCache

from introspection.engine.batches import Batch, cut, plan_batches, slots_of, trees
from introspection.engine.cache import CollectedLayer, GrowingCache, Prefill, SharedLayer, shared_cache
from introspection.engine.memory import is_out_of_memory, tokens_that_fit
from introspection.engine.passes import read_tree
from introspection.engine.trial import Directions, Trial
from introspection.model.language_model import LanguageModel


class NotFiniteError(ArithmeticError):
    """A model computed something that is not a finite number; the message says for which trial and layer."""


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
    tokens_per_batch: how many tokens go through the model together; None takes what `tokens_that_fit` says. A batch
    that does not fit in memory is halved until it does.
    Raises NotFiniteError where a state is not finite, KeyError for a vector without a direction at a steered block.
    """
    kept = list(range(len(model.blocks) + 1)) if layers is None else list(layers)
    states = torch.empty(len(trials), len(kept), model.hidden_size)
    pending = plan_batches(trials, len(model.blocks), tokens_per_batch or tokens_that_fit(model))[::-1]
    with tqdm(total=len(trials), desc=progress, unit="trial", disable=progress is None) as bar:
        while pending:
            batch = pending.pop()
            rows = [trials[row] for row in batch.rows]
            try:
                found = _run_batch(model, rows, batch.prefix, directions, kept)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if len(rows) == 1 or not is_out_of_memory(error):
                    raise
                middle = len(rows) // 2
                pending += [Batch(batch.rows[middle:], batch.prefix), Batch(batch.rows[:middle], batch.prefix)]
                continue
            _check_finite(found, rows, kept)
            states[list(batch.rows)] = found
            bar.update(len(rows))
    return states


@torch.inference_mode()
def run_prefilled(
    model: LanguageModel,
    prefills: Sequence[Prefill],
    continuations: Sequence[tuple[int, ...]],
    *,
    layers: Sequence[int] | None = None,
    tokens_per_batch: int | None = None,
) -> Tensor:
    """Like `run_trials`, for turns read after a turn 1 that another model has prefilled, one batch for each such."""
    blocks = len(model.blocks)
    kept = list(range(blocks + 1)) if layers is None else list(layers)
    states = torch.empty(len(continuations), len(kept), model.hidden_size)
    trials = [
        Trial(before.token_ids + ids, (0, len(before.token_ids)))
        for before, ids in zip(prefills, continuations, strict=True)
    ]
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, before in enumerate(prefills):
        rows_of[id(before)].append(row)
    for rows in rows_of.values():
        before = prefills[rows[0]]
        slots = slots_of([trials[row] for row in rows], blocks)
        for batch in cut(rows, slots, tokens_per_batch or tokens_that_fit(model), len(before.token_ids)):
            of_batch = [trials[row] for row in batch.rows]
            start, whole, texts = trees(of_batch, batch.prefix, blocks)
            assert start is not None
            cache = shared_cache(before.keys, before.values, start, whole)
            found = read_tree(model, whole, of_batch, texts, None, kept, batch.prefix, cache)
            _check_finite(found, of_batch, kept)
            states[list(batch.rows)] = found
    return states


@torch.inference_mode()
def _run_batch(
    model: LanguageModel, rows: Sequence[Trial], prefix: int, directions: Directions, layers: Sequence[int]
) -> Tensor:
    turn_1, whole, texts = trees(rows, prefix, len(model.blocks))
    if turn_1 is None:
        return read_tree(model, whole, rows, texts, directions, layers)
    cache = Cache(layers=[CollectedLayer() for _ in model.blocks])
    read_tree(model, turn_1, rows, [row.prefix for row in rows], directions, [], 0, cache)
    keys, values = zip(*((layer.keys, layer.values) for layer in cache.layers), strict=True)
    return read_tree(model, whole, rows, texts, None, layers, prefix, shared_cache(keys, values, turn_1, whole))


def _check_finite(states: Tensor, rows: Sequence[Trial], layers: Sequence[int]) -> None:
    wrong = (~torch.isfinite(states)).any(dim=-1).nonzero()
    if len(wrong):
        row, layer = (int(index) for index in wrong[0])
        raise NotFiniteError(
            f"the residual stream at layer {layers[layer]} is not finite for {rows[row].injection or 'no injection'} "
            f"({len(rows[row].token_ids)} tokens); lower the strength or use a wider dtype"
        )
