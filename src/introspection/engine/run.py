"""Run trials: rows of tokens with steered positions, through a model together, read at their last token."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from tqdm import tqdm
from transformers.cache_utils import Cache, DynamicCache

from introspection.engine.batches import Batch, plan_after_turn_1, plan_batches
from introspection.engine.cache import CollectedLayer, GrowingCache, Prefill, SharedLayer, shared_cache
from introspection.engine.memory import is_out_of_memory, tokens_that_fit
from introspection.engine.passes import read_pass
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
    batches = plan_batches(trials, len(model.blocks), tokens_per_batch or tokens_that_fit(model))

    def read(batch: Batch, kept: Sequence[int]) -> Tensor:
        *turn_1, rest = batch.passes
        if not turn_1:
            return read_pass(model, rest, directions, kept)
        collected = [CollectedLayer() for _ in model.blocks]
        read_pass(model, turn_1[0], directions, [], Cache(layers=collected))
        keys, values = zip(*(layer.collected() for layer in collected), strict=True)
        return read_pass(model, rest, directions, kept, shared_cache(keys, values, turn_1[0].tree, rest.tree))

    return _run(model, batches, read, layers, progress)


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
    tokens = tokens_per_batch or tokens_that_fit(model)
    batches = [
        batch for rows in rows_of.values() for batch in plan_after_turn_1(trials, rows, len(model.blocks), tokens)
    ]

    def read(batch: Batch, kept: Sequence[int]) -> Tensor:
        turn_1, rest = batch.passes
        before = prefills[batch.rows[0]]
        return read_pass(model, rest, {}, kept, shared_cache(before.keys, before.values, turn_1.tree, rest.tree))

    return _run(model, batches, read, layers)


def _run(
    model: LanguageModel,
    batches: Sequence[Batch],
    read: Callable[[Batch, Sequence[int]], Tensor],
    layers: Sequence[int] | None,
    progress: str | None = None,
) -> Tensor:
    """Read every batch, halved where it does not fit in memory; the states in the order of the trials."""
    kept = list(range(len(model.blocks) + 1)) if layers is None else list(layers)
    count = sum(len(batch.rows) for batch in batches)
    states = torch.empty(count, len(kept), model.hidden_size)
    pending = list(batches[::-1])
    with tqdm(total=count, desc=progress, unit="trial", disable=progress is None) as bar:
        while pending:
            batch = pending.pop()
            try:
                with torch.inference_mode():
                    found = read(batch, kept)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if len(batch.rows) == 1 or not is_out_of_memory(error):
                    raise
                bar.write(f"memory does not hold {len(batch.rows)} rows at once: they are read in halves", sys.stderr)
                pending += batch.halves()[::-1]
                continue
            _check_finite(found, batch.trials, kept)
            states[list(batch.rows)] = found
            bar.update(len(batch.rows))
    return states


def _check_finite(states: Tensor, rows: Sequence[Trial], layers: Sequence[int]) -> None:
    wrong = (~torch.isfinite(states)).any(dim=-1).nonzero()
    if len(wrong):
        row, layer = (int(index) for index in wrong[0])
        raise NotFiniteError(
            f"the residual stream at layer {layers[layer]} is not finite for {_named(rows[row])} "
            f"({len(rows[row].token_ids)} tokens); lower the strength or use a wider dtype"
        )


def _named(row: Trial) -> str:
    return " and ".join(map(str, row.injections)) or "no injection"
