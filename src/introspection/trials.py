"""Trials: rows of tokens with steered positions, run through a model together, with no work done twice.

A trial is token ids, the positions of turn 1, and the injection made there. Attention is causal, so steering turn 1
while everything is read in one pass equals the study's procedure (prefill turn 1 steered, remove the vector, read
turn 2 against the cache). Two savings follow, and both live here:

- A tree in depth. Rows over the same tokens compute the same thing until what is added to them first differs. One slot
  of the batch serves all rows that agree up to a block, and splits after the block where they part.
- A tree in tokens. Rows with the same turn 1 and the same injection share its keys and values, whatever follows it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from introspection.models import LanguageModel
from introspection.steering import Edit, steered

Directions = Mapping[str, Mapping[int, Any]]
"""By vector name and block, a direction of shape (hidden,): the `directions` of repeng's ControlVector."""


class NotFiniteError(ArithmeticError):
    """A model computed something that is not a finite number; the message says for which trial and layer."""


@dataclass(frozen=True, order=True)
class Injection:
    """A vector, by name, added with a strength after each decoder block of an inclusive range."""

    vector: str
    strength: float
    first_layer: int
    last_layer: int

    def at(self, block: int) -> bool:
        """Whether anything is added after this block."""
        return self.strength != 0 and self.first_layer <= block <= self.last_layer


@dataclass(frozen=True)
class Trial:
    """One row: tokens, the positions (start, stop) of turn 1, and what is injected there; None injects nothing."""

    token_ids: tuple[int, ...]
    turn_1: tuple[int, int] = (0, 0)
    injection: Injection | None = None

    @property
    def prefix(self) -> tuple[int, ...]:
        """The tokens up to the end of turn 1."""
        return self.token_ids[: self.turn_1[1]]

    def addition(self, block: int) -> Addition | None:
        """What is added after a block, in terms that compare equal where the same is added."""
        if self.injection is None or not self.injection.at(block):
            return None
        return (self.injection.vector, self.injection.strength, self.turn_1)


Addition = tuple[str, float, tuple[int, int]]


@dataclass(frozen=True)
class Tree:
    """Which rows share a slot at each depth; depth k is the input of block k, the last depth the model's output.

    slots: for each depth, the slot of each row.
    parents: for each block, the slot before it that each slot after it continues.
    additions: for each block, what is added to each slot after it.
    """

    slots: list[list[int]]
    parents: list[list[int]]
    additions: list[list[Addition | None]]

    @property
    def widths(self) -> list[int]:
        """The number of slots that each block computes."""
        return [max(slots) + 1 for slots in self.slots[:-1]]


def plan_tree(roots: Sequence[Hashable], additions: Sequence[Sequence[Addition | None]], blocks: int) -> Tree:
    """Plan a batch of rows, from what each row begins with and what is added to it after each block."""
    first, _ = _numbered(roots)
    tree = Tree(slots=[first], parents=[], additions=[])
    for block in range(blocks):
        branches = [(slot, row[block]) for slot, row in zip(tree.slots[-1], additions, strict=True)]
        slots, distinct = _numbered(branches)
        tree.slots.append(slots)
        tree.parents.append([parent for parent, _ in distinct])
        tree.additions.append([addition for _, addition in distinct])
    return tree


def _numbered(values: Sequence[Any]) -> tuple[list[int], list[Any]]:
    """Each value's number in order of first appearance, and the distinct values in that order."""
    numbers: dict[Any, int] = {}
    return [numbers.setdefault(value, len(numbers)) for value in values], list(numbers)


@dataclass(frozen=True)
class Batch:
    """Rows that go through the model together.

    rows: their indices among the trials.
    prefix: the length of the turn 1 that they share through the KV cache, or 0 where each row is one pass.
    """

    rows: tuple[int, ...]
    prefix: int = 0


def plan_batches(trials: Sequence[Trial], blocks: int, tokens_per_batch: int) -> list[Batch]:
    """Sort rows so that neighbours share their computation, and cut them where they would need too much memory.

    Trials that share turn 1 and injection but differ after it are batched by turn 1, to be read from its cache.
    """
    by_prefix: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, trial in enumerate(trials):
        by_prefix[trial.prefix].append(row)
    batches: list[Batch] = []
    alone: list[int] = []
    for prefix, rows in by_prefix.items():
        if prefix and len({_steps(trials[row], blocks) for row in rows}) < len(rows):
            batches += _cut(_neighbours(trials, rows, blocks), trials, tokens_per_batch, len(prefix))
        else:
            alone += rows
    return batches + _cut(_neighbours(trials, alone, blocks), trials, tokens_per_batch, 0)


def block_evaluations(trials: Sequence[Trial], blocks: int, tokens_per_batch: int) -> int:
    """How many slots the model's blocks compute for these trials, summed over blocks and passes."""
    total = 0
    for batch in plan_batches(trials, blocks, tokens_per_batch):
        rows = [trials[row] for row in batch.rows]
        if batch.prefix:
            total += sum(_tree(rows, [row.prefix for row in rows], blocks).widths)
        total += sum(_tree(rows, [row.token_ids for row in rows], blocks).widths)
    return total


def _steps(trial: Trial, blocks: int) -> tuple[Addition | None, ...]:
    return tuple(trial.addition(block) for block in range(blocks))


def _tree(rows: Sequence[Trial], roots: Sequence[tuple[int, ...]], blocks: int) -> Tree:
    return plan_tree(roots, [_steps(row, blocks) for row in rows], blocks)


def _neighbours(trials: Sequence[Trial], rows: Sequence[int], blocks: int) -> list[int]:
    """Rows of one length and then one text together, the texts' rows in the order of a walk through their tree."""

    def order(row: int) -> tuple[Any, ...]:
        steps = tuple(addition or ("", 0.0, (0, 0)) for addition in _steps(trials[row], blocks))
        return (len(trials[row].token_ids), trials[row].token_ids, steps)

    return sorted(rows, key=order)


def _cut(rows: Sequence[int], trials: Sequence[Trial], tokens_per_batch: int, prefix: int) -> list[Batch]:
    """Batches of at most `tokens_per_batch` tokens (one row at the least), with little padding."""
    batches: list[Batch] = []
    batch: list[int] = []
    for row in rows:
        length = len(trials[row].token_ids)
        too_many = (len(batch) + 1) * length > tokens_per_batch
        if batch and (too_many or 5 * len(trials[batch[0]].token_ids) < 4 * length):
            batches.append(Batch(tuple(batch), prefix))
            batch = []
        batch.append(row)
    if batch:
        batches.append(Batch(tuple(batch), prefix))
    return batches


@dataclass(frozen=True)
class Prefill:
    """The keys and values of a beginning of a conversation, each of shape (1, heads, length, head size) per block."""

    token_ids: tuple[int, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


@torch.inference_mode()
def prefill(model: LanguageModel, token_ids: tuple[int, ...], before: Prefill | None = None) -> Prefill:
    """Read `token_ids` after what `before` holds, and keep the cache of both in host memory.

    `before` may come from another model of the same shape: that is how one model reads what another has read.
    """
    if before is None:
        cache: Cache = DynamicCache()
        new = token_ids
    else:
        layers = [_SharedLayer(k, v, None) for k, v in zip(before.keys, before.values, strict=True)]
        cache = _GrowingCache(layers)
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
    tokens_per_batch: int = 16384,
    progress: str | None = None,
) -> Tensor:
    """The residual stream at each trial's last token, (rows, layers, hidden) in float32 on the CPU.

    layers: which depths to keep, 0 being the embedding, k what follows block k-1; all blocks + 1 of them by default.
    A batch that does not fit in memory is halved until it does.
    Raises NotFiniteError where a state is not finite, KeyError for a vector without a direction at a steered block.
    """
    kept = list(range(len(model.blocks) + 1)) if layers is None else list(layers)
    states = torch.empty(len(trials), len(kept), model.hidden_size)
    pending = plan_batches(trials, len(model.blocks), tokens_per_batch)[::-1]
    with tqdm(total=len(trials), desc=progress, unit="trial", disable=progress is None) as bar:
        while pending:
            batch = pending.pop()
            rows = [trials[row] for row in batch.rows]
            try:
                found = _run_batch(model, rows, batch.prefix, directions, kept)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if len(rows) == 1 or not _is_out_of_memory(error):
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
) -> Tensor:
    """Like `run_trials`, for turns read after a turn 1 that another model has prefilled, row by row."""
    kept = list(range(len(model.blocks) + 1)) if layers is None else list(layers)
    states = torch.empty(len(continuations), len(kept), model.hidden_size)
    for row, (before, token_ids) in enumerate(zip(prefills, continuations, strict=True)):
        tree = plan_tree([token_ids], [[None] * len(model.blocks)], len(model.blocks))
        cache = _shared_cache(before.keys, before.values, tree, tree)
        trial = Trial(token_ids)
        found = _pass(model, tree, [token_ids], None, kept, cache)
        _check_finite(found, [trial], kept)
        states[row] = found[0]
    return states


@torch.inference_mode()
def _run_batch(
    model: LanguageModel, rows: Sequence[Trial], prefix: int, directions: Directions, layers: Sequence[int]
) -> Tensor:
    blocks = len(model.blocks)
    whole = _tree(rows, [row.token_ids for row in rows], blocks)
    if not prefix:
        return _pass(model, whole, [row.token_ids for row in rows], directions, layers)
    start = _tree(rows, [row.prefix for row in rows], blocks)
    cache = DynamicCache()
    _pass(model, start, [row.prefix for row in rows], directions, [], cache)
    keys, values = zip(*((layer.keys, layer.values) for layer in cache.layers), strict=True)
    return _pass(
        model, whole, [row.token_ids[prefix:] for row in rows], None, layers, _shared_cache(keys, values, start, whole)
    )


def _pass(
    model: LanguageModel,
    tree: Tree,
    token_ids: Sequence[tuple[int, ...]],
    directions: Directions | None,
    layers: Sequence[int],
    cache: Cache | None = None,
) -> Tensor:
    """One forward pass of a tree of rows; the residual stream at each row's last token, (rows, layers, hidden).

    Where `directions` is None, turn 1 lies in the cache, so slots split but nothing is added.
    """
    first_rows = _first_rows(tree.slots[0])
    texts = [token_ids[row] for row in first_rows]
    length = max(len(ids) for ids in texts)
    padded = torch.tensor([[*ids, *[0] * (length - len(ids))] for ids in texts], device=model.device)
    captured: dict[int, Tensor] = {}
    with ExitStack() as stack:
        stack.enter_context(steered(model.blocks, _edits(tree, directions, length, model.hidden_size)))
        for depth in layers:
            last = torch.tensor([len(token_ids[row]) - 1 for row in _first_rows(tree.slots[depth])])
            stack.callback(_capture(model, depth, partial(captured.__setitem__, depth), last).remove)
        for block in model.blocks:
            stack.callback(block.register_forward_pre_hook(_one_mask, with_kwargs=True).remove)
        model.backbone(input_ids=padded, past_key_values=cache, use_cache=cache is not None)
    slots = (torch.tensor(tree.slots[depth]) for depth in layers)
    states = [captured[depth].float().cpu()[rows] for depth, rows in zip(layers, slots, strict=True)]
    return torch.stack(states, dim=1) if states else torch.empty(len(token_ids), 0, model.hidden_size)


def _edits(tree: Tree, directions: Directions | None, length: int, hidden_size: int) -> dict[int, Edit]:
    """What the hooks do after each block: split slots, and add each slot's vector at its steered positions."""
    edits: dict[int, Edit] = {}
    for block, (parents, additions) in enumerate(zip(tree.parents, tree.additions, strict=True)):
        width = max(tree.slots[block]) + 1
        splits = parents != list(range(width))
        adds = directions is not None and any(addition is not None for addition in additions)
        if not splits and not adds:
            continue
        vectors, positions = None, None
        if directions is not None and adds:
            vectors = torch.zeros(len(additions), hidden_size)
            positions = torch.zeros(len(additions), length, dtype=torch.bool)
            for slot, addition in enumerate(additions):
                if addition is not None:
                    name, strength, (start, stop) = addition
                    vectors[slot] = strength * torch.as_tensor(directions[name][block])
                    positions[slot, start:stop] = True
        edits[block] = Edit(torch.tensor(parents) if splits else None, vectors, positions)
    return edits


def _capture(model: LanguageModel, depth: int, keep: Callable[[Tensor], None], last: Tensor) -> Any:
    """A hook that keeps the residual stream at one depth, at each slot's last token."""

    def at_last(residual: Tensor) -> None:
        slots = torch.arange(len(residual), device=residual.device)
        keep(residual[slots, last.to(residual.device)])

    def before(_module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        at_last(inputs[0] if inputs else named["hidden_states"])

    def after(_module: Any, _inputs: Any, output: Any) -> None:
        at_last(output[0] if isinstance(output, tuple) else output)

    if depth == 0:
        return model.blocks[0].register_forward_pre_hook(before, with_kwargs=True)
    return model.blocks[depth - 1].register_forward_hook(after)


def _one_mask(_module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Padding is on the right, so all rows have the same attention mask: keep one, which fits any number of slots.

    It is the only four-dimensional tensor that a block is given.
    """

    def one(value: Any) -> Any:
        return value[:1] if isinstance(value, Tensor) and value.ndim == 4 else value

    return tuple(one(value) for value in inputs), {name: one(value) for name, value in named.items()}


class _SharedLayer(DynamicLayer):
    """A block's keys and values of turn 1, given to the slots that share them one block at a time, never stored."""

    def __init__(self, keys: Tensor, values: Tensor, rows: Tensor | None) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values, self._rows = keys, values, rows

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """The shared keys and values followed by the new ones."""
        device = key_states.device
        keys, values = self.keys.to(device), self.values.to(device)
        if self._rows is not None:
            rows = self._rows.to(device)
            keys, values = keys[rows], values[rows]
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)


class _GrowingCache(Cache):
    """A cache that begins with another model's keys and values and keeps the new ones."""

    def __init__(self, layers: list[_SharedLayer]) -> None:
        super().__init__(layers=layers)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """The keys and values up to the new ones, which from now on belong to the cache."""
        layer = self.layers[layer_idx]
        layer.keys, layer.values = layer.update(key_states, value_states)
        return layer.keys, layer.values


def _shared_cache(keys: Sequence[Tensor], values: Sequence[Tensor], start: Tree, whole: Tree) -> Cache:
    """For each block, which slot of turn 1's tree each slot of the whole rows' tree reads."""
    layers = []
    for block, (k, v) in enumerate(zip(keys, values, strict=True)):
        rows = torch.tensor([start.slots[block][row] for row in _first_rows(whole.slots[block])])
        layers.append(_SharedLayer(k, v, rows))
    return Cache(layers=layers)


def _first_rows(slots: Sequence[int]) -> list[int]:
    """For each slot, the first row that is in it."""
    firsts: dict[int, int] = {}
    for row, slot in enumerate(slots):
        firsts.setdefault(slot, row)
    return [firsts[slot] for slot in range(len(firsts))]


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def _check_finite(states: Tensor, rows: Sequence[Trial], layers: Sequence[int]) -> None:
    wrong = (~torch.isfinite(states)).any(dim=-1).nonzero()
    if len(wrong):
        row, layer = (int(index) for index in wrong[0])
        raise NotFiniteError(
            f"the residual stream at layer {layers[layer]} is not finite for {rows[row].injection or 'no injection'} "
            f"({len(rows[row].token_ids)} tokens); lower the strength or use a wider dtype"
        )
