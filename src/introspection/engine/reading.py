"""What is read at once: a batch of trials and all that it needs besides the model, and the reading itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import tqdm
from transformers.cache_utils import Cache

from introspection.engine.batches import Batch
from introspection.engine.cache import CollectedLayer, Prefill, shared_cache
from introspection.engine.memory import is_out_of_memory
from introspection.engine.passes import read_pass
from introspection.engine.trial import Directions, Trial
from introspection.model.language_model import LanguageModel


class NotFiniteError(ArithmeticError):
    """A model computed something that is not a finite number; the message says for which trial and layer."""


@dataclass(frozen=True)
class Reading:
    """A batch to be read, wherever the model lies.

    directions: of the vectors that its trials inject. layers: the depths to keep. before: the turn 1 that all its rows
    go on from, where another model has prefilled it.
    """

    batch: Batch
    directions: Directions
    layers: tuple[int, ...]
    before: Prefill | None = None


def reading_of(batch: Batch, directions: Directions, layers: Sequence[int], before: Prefill | None = None) -> Reading:
    """The reading of a batch, with those of the directions that it needs. Raises KeyError for a vector without one."""
    vectors = sorted({injection.vector for trial in batch.trials for injection in trial.injections})
    return Reading(batch, {vector: directions[vector] for vector in vectors}, tuple(layers), before)


def read(model: LanguageModel, reading: Reading) -> Tensor:
    """The residual stream at the last token of each row of the batch, (rows, layers, hidden) in float32 on the CPU.

    A batch that does not fit in memory is halved until it does. Raises NotFiniteError where a state is not finite,
    KeyError for a vector without a direction at a steered block.
    """
    batch = reading.batch
    try:
        with torch.inference_mode():
            found = _passes(model, reading)
    except (MemoryError, RuntimeError) as error:
        if len(batch.rows) == 1 or not is_out_of_memory(error):
            raise
    else:
        _check_finite(found, batch.trials, reading.layers)
        return found
    tqdm.write(f"memory does not hold {len(batch.rows)} rows at once: they are read in halves", sys.stderr)
    return torch.cat([read(model, replace(reading, batch=half)) for half in batch.halves()])


def _passes(model: LanguageModel, reading: Reading) -> Tensor:
    batch, directions, kept = reading.batch, reading.directions, reading.layers
    first, *rest = batch.passes
    if not batch.prefix:
        return read_pass(model, first, directions, kept)
    if reading.before is not None:
        keys, values = reading.before.keys, reading.before.values
    else:
        collected = [CollectedLayer() for _ in model.blocks]
        read_pass(model, first, directions, [], Cache(layers=collected))
        keys, values = zip(*(layer.collected() for layer in collected), strict=True)
    states = torch.empty(len(batch.rows), len(kept), model.hidden_size)
    for each in rest:
        states[each.rows] = read_pass(model, each, directions, kept, shared_cache(keys, values, first, each))
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
