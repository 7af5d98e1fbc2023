"""One forward pass of a tree of rows. Every hook is undone when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from introspection.engine.batches import Tree, first_rows, numbered
from introspection.engine.memory import slice_tokens
from introspection.engine.trial import Directions, Trial
from introspection.model.language_model import LanguageModel
from introspection.model.placement import weights_in_place
from introspection.steering import Edit, steered


def read_tree(
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
    read = [texts[row][start:] for row in first_rows(tree.slots[0])]
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
            rows, distinct = numbered(additions)
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
        here.append((inputs[0].shape, slots, positions))
        return (inputs[0][:, :1], *inputs[1:])

    def as_long(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output.expand(here.pop()[0])  # some families (GPT-2) give it a shape that they have kept

    handles = [model.final_norm.register_forward_pre_hook(first), model.final_norm.register_forward_hook(as_long)]
    perceptron = getattr(model.blocks[-1], "mlp", None)
    if (
        isinstance(perceptron, nn.Module)
        and type(perceptron).__name__.endswith("MLP")
        and not hasattr(perceptron, "experts")
    ):
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
        size = max(1, slice_tokens(residual.is_cuda) // residual.shape[1])
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
