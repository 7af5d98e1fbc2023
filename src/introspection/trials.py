"""Trials: rows of tokens with steered positions, run through a model together, with no work done twice.

A trial is token ids, the positions of turn 1, and the injection made there. Attention is causal, so steering turn 1
while everything is read in one pass equals the study's procedure (prefill turn 1 steered, remove the vector, read
turn 2 against the cache). Two savings follow, and both live here:

- A tree in depth. Rows over the same tokens compute the same thing until what is added to them first differs. One slot
  of the batch serves all rows that agree up to a block, and splits after the block where they part.
- A tree in tokens. Rows with the same turn 1 and the same injection share its keys and values, whatever follows it;
  and a row whose tokens are the beginning of another's is read from the other's pass.

Only the last tokens are read, so the last block computes its multilayer perceptron for those alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from introspection.models import LanguageModel, weights_in_place
from introspection.steering import Edit, steered

TOKENS_PER_BATCH = 65536
"""How many tokens go through a model together where no accelerator's memory sets the limit."""

_SLICE, _SLICE_ON_GPU = 2048, 32768  # tokens that a block computes at a time

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


Addition = tuple[str, float, tuple[int, int]]
"""What is added after a block, in terms that compare equal where the same is added: vector, strength, positions."""


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
        slots = _slots([trials[row] for row in rows], blocks)
        if prefix and len({steps for steps, _ in slots}) < len(set(slots)):
            batches += _cut(rows, slots, tokens_per_batch, len(prefix))
        else:
            alone += rows
    return batches + _cut(alone, _slots([trials[row] for row in alone], blocks), tokens_per_batch, 0)


@dataclass(frozen=True)
class Work:
    """How much a model computes for some trials. A slot is a row of a batch that a block computes.

    passes: through the whole model, each of which reads all weights once.
    block_evaluations: slots, summed over blocks and passes.
    block_tokens: tokens of those slots, padding included.
    attended: pairs of a token and one that it attends to, summed likewise.
    last_block_tokens: the part of block_tokens in the last block, where only the attention is computed in full.
    """

    passes: int = 0
    block_evaluations: int = 0
    block_tokens: int = 0
    attended: int = 0
    last_block_tokens: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def count_work(trials: Sequence[Trial], blocks: int, tokens_per_batch: int) -> Work:
    """What `run_trials` computes for these trials, from the plan of its batches alone."""
    total = Work()
    for batch in plan_batches(trials, blocks, tokens_per_batch):
        turn_1, whole, texts = _trees([trials[row] for row in batch.rows], batch.prefix, blocks)
        if turn_1:
            total += _pass_work(turn_1, batch.prefix, 0)
        total += _pass_work(whole, max(map(len, texts)) - batch.prefix, batch.prefix)
    return total


def _trees(rows: Sequence[Trial], prefix: int, blocks: int) -> tuple[Tree | None, Tree, list[tuple[int, ...]]]:
    """The tree of a shared turn 1, that of the whole rows, and the text that each row is read from."""
    slots = _slots(rows, blocks)
    texts, additions = [text for _, text in slots], [steps for steps, _ in slots]
    turn_1 = plan_tree([None] * len(rows), additions, blocks) if prefix else None
    return turn_1, plan_tree(texts, additions, blocks), texts


def block_evaluations(trials: Sequence[Trial], blocks: int, tokens_per_batch: int) -> int:
    """How many slots the model's blocks compute for these trials, summed over blocks and passes."""
    return count_work(trials, blocks, tokens_per_batch).block_evaluations


def _pass_work(tree: Tree, length: int, before: int) -> Work:
    slots = sum(tree.widths)
    attended = length * before + length * (length + 1) // 2
    return Work(1, slots, slots * length, slots * attended, tree.widths[-1] * length)


Steps = tuple[Addition | None, ...]
"""What is added after each block."""

Slot = tuple[Steps, tuple[int, ...]]
"""What is added to a slot, and its text."""


def _steps(trial: Trial, blocks: int) -> Steps:
    return _steps_of(trial.injection, trial.turn_1, blocks)


@lru_cache(maxsize=2**16)
def _steps_of(injection: Injection | None, turn_1: tuple[int, int], blocks: int) -> Steps:
    if injection is None:
        return (None,) * blocks
    addition = (injection.vector, injection.strength, turn_1)
    return tuple(addition if injection.at(block) else None for block in range(blocks))


def _slots(trials: Sequence[Trial], blocks: int) -> list[Slot]:
    """For each trial, what is added to it, and the longest of the texts under the same additions that it begins."""
    texts: dict[Steps, set[tuple[int, ...]]] = defaultdict(set)
    for trial in trials:
        texts[_steps(trial, blocks)].add(trial.token_ids)
    longest: dict[Slot, tuple[int, ...]] = {}
    for steps, of_steps in texts.items():
        above: tuple[int, ...] = ()
        for text in sorted(of_steps, reverse=True):  # right after the texts that begin with it
            above = above if above[: len(text)] == text else text
            longest[steps, text] = above
    return [(steps, longest[steps, trial.token_ids]) for trial in trials for steps in [_steps(trial, blocks)]]


_CACHED = 8  # a token whose keys and values are kept in every block takes some eight times the memory of another


def _cut(rows: Sequence[int], slots: Sequence[Slot], tokens_per_batch: int, prefix: int) -> list[Batch]:
    """Batches that hold at most `tokens_per_batch` tokens (one slot at the least), with little padding.

    Rows are taken in the order of a walk through their tree, one text after another where each row is one pass; rows
    that share a turn 1 are taken injection by injection, so that as few batches as possible prefill the same.
    """

    def order(item: tuple[int, Slot]) -> tuple[Any, ...]:
        steps, text = item[1]
        walk = tuple(addition or ("", 0.0, (0, 0)) for addition in steps)
        return (walk, len(text), text) if prefix else (len(text), text, walk)

    batches: list[Batch] = []
    batch: list[int] = []
    held: dict[Slot, int] = {}  # the slots of the batch and the lengths of their texts
    for row, slot in sorted(zip(rows, slots, strict=True), key=order):
        grown = held | {slot: len(slot[1])} if slot not in held else held
        too_many = _tokens(grown, prefix) > tokens_per_batch
        padded = 5 * min(grown.values()) < 4 * max(grown.values())
        if batch and grown is not held and (too_many or padded):
            batches.append(Batch(tuple(batch), prefix))
            batch, grown = [], {slot: len(slot[1])}
        batch.append(row)
        held = grown
    if batch:
        batches.append(Batch(tuple(batch), prefix))
    return batches


def _tokens(slots: Mapping[Slot, int], prefix: int) -> int:
    """The tokens that a batch of slots with texts of these lengths holds in memory, padding included."""
    turns_1 = len({steps for steps, _ in slots}) if prefix else 0
    return len(slots) * (max(slots.values()) - prefix) + _CACHED * turns_1 * prefix


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
        slots = _slots([trials[row] for row in rows], blocks)
        for batch in _cut(rows, slots, tokens_per_batch or tokens_that_fit(model), len(before.token_ids)):
            of_batch = [trials[row] for row in batch.rows]
            start, whole, texts = _trees(of_batch, batch.prefix, blocks)
            assert start is not None
            cache = _shared_cache(before.keys, before.values, start, whole)
            found = _pass(model, whole, of_batch, texts, None, kept, batch.prefix, cache)
            _check_finite(found, of_batch, kept)
            states[list(batch.rows)] = found
    return states


@torch.inference_mode()
def _run_batch(
    model: LanguageModel, rows: Sequence[Trial], prefix: int, directions: Directions, layers: Sequence[int]
) -> Tensor:
    turn_1, whole, texts = _trees(rows, prefix, len(model.blocks))
    if turn_1 is None:
        return _pass(model, whole, rows, texts, directions, layers)
    cache = Cache(layers=[_CollectedLayer() for _ in model.blocks])
    _pass(model, turn_1, rows, [row.prefix for row in rows], directions, [], 0, cache)
    keys, values = zip(*((layer.keys, layer.values) for layer in cache.layers), strict=True)
    return _pass(model, whole, rows, texts, None, layers, prefix, _shared_cache(keys, values, turn_1, whole))


def _pass(
    model: LanguageModel,
    tree: Tree,
    rows: Sequence[Trial],
    texts: Sequence[tuple[int, ...]],
    directions: Directions | None,
    layers: Sequence[int],
    start: int = 0,
    cache: Cache | None = None,
) -> Tensor:
    """One forward pass of a tree of rows; the residual stream at each row's last token, (rows, layers, hidden).

    texts: the tokens of each row's slot, of which the model reads those from `start` on, after what the cache holds.
    Where `directions` is None, turn 1 lies in the cache, so slots split but nothing is added.
    """
    read = [texts[row][start:] for row in _first_rows(tree.slots[0])]
    length = max(len(ids) for ids in read)
    padded = torch.tensor([[*ids, *[0] * (length - len(ids))] for ids in read], device=model.device)
    last = [min(len(row.token_ids), start + length) - start - 1 for row in rows]
    tree = _without_last_split(tree, rows)
    captured: dict[int, Tensor] = {}
    with ExitStack() as stack:
        stack.enter_context(_in_slices(model.blocks))
        stack.enter_context(steered(model.blocks, _edits(tree, directions, length, model.hidden_size)))
        for depth in layers:
            places = (torch.tensor(tree.slots[depth]), torch.tensor(last))
            stack.callback(_capture(model, depth, partial(captured.__setitem__, depth), places).remove)
        for block in model.blocks:
            stack.callback(block.register_forward_pre_hook(_one_mask, with_kwargs=True).remove)
        stack.enter_context(_read_only_at(model, torch.tensor(tree.slots[-2]), torch.tensor(last)))
        model.backbone(input_ids=padded, past_key_values=cache, use_cache=cache is not None)
    states = [captured[depth].float().cpu() for depth in layers]
    return torch.stack(states, dim=1) if states else torch.empty(len(rows), 0, model.hidden_size)


def _without_last_split(tree: Tree, rows: Sequence[Trial]) -> Tree:
    """The tree without what is added after the last block, unless that is to a token that is read."""
    for row, addition in zip(rows, (tree.additions[-1][slot] for slot in tree.slots[-1]), strict=True):
        if addition is not None and len(row.token_ids) <= row.turn_1[1]:
            return tree
    width = max(tree.slots[-2]) + 1
    slots, parents, additions = tree.slots[:-1], tree.parents[:-1], tree.additions[:-1]
    return Tree([*slots, slots[-1]], [*parents, list(range(width))], [*additions, [None] * width])


def _edits(tree: Tree, directions: Directions | None, length: int, hidden_size: int) -> dict[int, Edit]:
    """What the hooks do after each block: split slots, and add each slot's vector at its steered positions."""
    edits: dict[int, Edit] = {}
    for block, (parents, additions) in enumerate(zip(tree.parents, tree.additions, strict=True)):
        width = max(tree.slots[block]) + 1
        splits = parents != list(range(width))
        adds = directions is not None and any(addition is not None for addition in additions)
        if not splits and not adds:
            continue
        edit = Edit(torch.tensor(parents) if splits else None)
        if directions is not None and adds:
            rows, distinct = _numbered(additions)
            vectors = torch.zeros(len(distinct), hidden_size)
            positions = torch.zeros(len(distinct), length, dtype=torch.bool)
            for row, addition in enumerate(distinct):
                if addition is not None:
                    name, strength, (start, stop) = addition
                    vectors[row] = strength * torch.as_tensor(directions[name][block])
                    positions[row, start:stop] = True
            edit = replace(edit, additions=vectors, positions=positions, rows=torch.tensor(rows))
        edits[block] = edit
    return edits


def _capture(model: LanguageModel, depth: int, keep: Callable[[Tensor], None], places: tuple[Tensor, Tensor]) -> Any:
    """A hook that keeps the residual stream at one depth, at some places: slots and positions in them."""

    def at_last(residual: Tensor) -> None:
        slots, positions = (place.to(residual.device) for place in places)
        keep(residual[slots, positions])

    def before(_module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        at_last(inputs[0] if inputs else named["hidden_states"])

    def after(_module: Any, _inputs: Any, output: Any) -> None:
        at_last(output[0] if isinstance(output, tuple) else output)

    if depth == 0:
        return model.blocks[0].register_forward_pre_hook(before, with_kwargs=True)
    return model.blocks[depth - 1].register_forward_hook(after)


@contextmanager
def _read_only_at(model: LanguageModel, slots: Tensor, positions: Tensor) -> Iterator[None]:
    """What nobody reads is not computed: the last block's multilayer perceptron elsewhere, and the final norm.

    A perceptron treats every position by itself, so it is given those that are read, and its output is zero at others.
    A block whose perceptron is not the usual child `mlp` (a mixture of experts, say) is computed in full.
    """
    begin = 0  # slots come in order, a slice of them at a time
    here: list[tuple[torch.Size, Tensor, Tensor]] = []

    def take(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal begin
        hidden = inputs[0]
        read = (slots >= begin) & (slots < begin + len(hidden))
        places = (slots[read].to(hidden.device) - begin, positions[read].to(hidden.device))
        begin += len(hidden)
        here.append((hidden.shape, *places))
        return (hidden[places].unsqueeze(0), *inputs[1:])

    def put(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        shape, *places = here.pop()
        return output.new_zeros(shape).index_put_(tuple(places), output[0])

    def first(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0][:, :1], *inputs[1:])

    handles = [model.final_norm.register_forward_pre_hook(first)]
    perceptron = getattr(model.blocks[-1], "mlp", None)
    if isinstance(perceptron, nn.Module) and type(perceptron).__name__.endswith("MLP"):
        handles += [perceptron.register_forward_pre_hook(take), perceptron.register_forward_hook(put)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _in_slices(blocks: nn.ModuleList) -> Iterator[None]:
    """Each block computes a slice of the slots after another, so that only the residual stream is there for all.

    What a block needs besides is many times wider; on a CPU a slice's share of it stays in the cache.
    """

    def sliced(block: nn.Module, whole: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        residual = inputs[0] if inputs else named.pop("hidden_states")
        size = max(1, (_SLICE_ON_GPU if residual.is_cuda else _SLICE) // residual.shape[1])
        output: Any = None
        with weights_in_place(block):
            for part in residual.split(size):
                output = whole(part, *inputs[1:], **named)
                part.copy_(output[0] if isinstance(output, tuple) else output)  # nobody needs the block's input again
        return (residual, *output[1:]) if isinstance(output, tuple) else residual

    with ExitStack() as stack:
        for block in blocks:
            own = vars(block).get("forward")
            block.forward = partial(sliced, block, block.forward)
            stack.callback(partial(setattr, block, "forward", own) if own else partial(delattr, block, "forward"))
        yield


def _one_mask(_module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Padding is on the right, so all rows have the same attention mask: keep one, which fits any number of slots.

    It is the only four-dimensional tensor that a block is given.
    """

    def one(value: Any) -> Any:
        return value[:1] if isinstance(value, Tensor) and value.ndim == 4 else value

    return tuple(one(value) for value in inputs), {name: one(value) for name, value in named.items()}


class _CollectedLayer(DynamicLayer):
    """A block's keys and values of a beginning, which comes a slice of the slots after another."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """The slice's own keys and values, since nothing comes before them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states, value_states
        else:
            self.keys = torch.cat([self.keys, key_states])
            self.values = torch.cat([self.values, value_states])
        return key_states, value_states


class _SharedLayer(DynamicLayer):
    """A block's keys and values of turn 1, given to the slots that share them one slice of a block at a time.

    rows: for each slot, whose it reads; None where there is one row.
    """

    def __init__(self, keys: Tensor, values: Tensor, rows: Tensor | None) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values, self._rows, self._begin = keys, values, rows, 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """The shared keys and values followed by the new ones."""
        device = key_states.device
        keys, values = self.keys.to(device), self.values.to(device)
        if self._rows is not None:
            rows = self._rows[self._begin : self._begin + len(key_states)].to(device)
            self._begin += len(key_states)
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


def tokens_that_fit(model: LanguageModel) -> int:
    """How many tokens to read at once: what the accelerator's free memory holds, a fixed number without one."""
    if model.device.type != "cuda":
        return TOKENS_PER_BATCH
    free, _ = torch.cuda.mem_get_info(model.device)
    unused = torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    return tokens_in(free + unused, model.text_config, model.model.dtype)


def tokens_in(free: int, config: Any, dtype: torch.dtype) -> int:
    """How many tokens a GPU with so many bytes free of the model's weights reads at once; one at the least."""
    whole = batch_bytes(1, config, dtype)  # of a token that is in a slice
    held = 3 * int(config.hidden_size) * dtype.itemsize
    in_slice = min(int(0.8 * free / whole), _SLICE_ON_GPU)
    return max(1, in_slice + int((0.8 * free - in_slice * whole) / held))


def batch_bytes(tokens: int, config: Any, dtype: torch.dtype) -> int:
    """The memory of a batch, an upper estimate: the residual stream of all tokens, and what a block needs for a slice.

    The stream is there up to three times, when slots split. The norms work in float32.
    """
    hidden = int(config.hidden_size)
    intermediate = int(getattr(config, "intermediate_size", None) or 4 * hidden)
    of_slice = dtype.itemsize * (4 * intermediate + 8 * hidden) + 4 * 3 * hidden
    slice_tokens = _SLICE_ON_GPU if torch.cuda.is_available() else _SLICE
    return 3 * tokens * hidden * dtype.itemsize + min(tokens, slice_tokens) * of_slice


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
