"""One forward pass of a tree of rows. Every hook is undone when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from introspection.engine.attention import shared_turn_1
from introspection.engine.batches import Pass
from introspection.engine.stream import Stream, in_slices
from introspection.engine.tree import numbered
from introspection.engine.trial import Directions
from introspection.model.language_model import LanguageModel
from introspection.steering import Edit, steered

Change = Callable[[Tensor], Tensor]
"""What becomes of the residual stream after a block."""


def read_pass(
    model: LanguageModel,
    planned: Pass,
    directions: Directions,
    layers: Sequence[int],
    cache: Cache | None = None,
) -> Tensor:
    """One forward pass; the residual stream at each row's last token, (rows, layers, hidden) in float32 on the CPU.

    cache: what comes before the tokens of the pass, or what collects their keys and values.
    Raises KeyError for a vector without a direction at a steered block.
    """
    tree, length = planned.tree, planned.length
    padded = torch.tensor([[*ids, *[0] * (length - len(ids))] for ids in planned.texts], device=model.device)
    last = torch.tensor(planned.last)
    captured: dict[int, Tensor] = {}
    with ExitStack() as stack:
        stack.enter_context(in_slices(model.blocks))
        if planned.cached and cache is not None:
            stack.enter_context(shared_turn_1(model, cache.layers))
        for changes in _changes(planned, directions, model.hidden_size):
            stack.enter_context(steered(model.blocks, changes))
        for depth in layers:
            places = (torch.tensor(tree.slots[depth]), last)
            stack.enter_context(_capture(model, depth, partial(captured.__setitem__, depth), places))
        for block in model.blocks:
            stack.enter_context(block.register_forward_pre_hook(_one_mask, with_kwargs=True))
        stack.enter_context(_last_perceptron_only_at(model, torch.tensor(tree.slots[-2]), last))
        stack.enter_context(_final_norm_only_once(model.final_norm))
        model.backbone(input_ids=padded, past_key_values=cache, use_cache=cache is not None)
    states = [captured[depth].float().cpu() for depth in layers]
    return torch.stack(states, dim=1) if states else torch.empty(len(last), 0, model.hidden_size)


def _changes(planned: Pass, directions: Directions, hidden_size: int) -> list[dict[int, Change]]:
    """What the hooks do after each block: split slots, then add each slot's first vector at its steered positions; and
    for slots with several vectors, add the second, and so on.

    Where there is a cache, all that is steered lies in it: then slots split, but nothing is added.
    """
    tree, stream = planned.tree, Stream(max(map(len, planned.tree.parents)))
    splits: dict[int, Change] = {
        block: partial(stream.split, parents=torch.tensor(parents))
        for block, parents in enumerate(tree.parents)
        if parents != list(range(tree.widths[block]))
    }
    changes = [splits]
    for block, additions in enumerate([] if planned.cached else tree.additions):
        for place in range(max(map(len, additions))):
            rows, distinct = numbered([addition[place : place + 1] for addition in additions])
            vectors = torch.zeros(len(distinct), hidden_size)
            positions = torch.zeros(len(distinct), planned.length, dtype=torch.bool)
            for row, addition in enumerate(distinct):
                for name, strength, spans in addition:
                    vectors[row] = torch.as_tensor(strength * directions[name][block])
                    for start, stop in spans:
                        positions[row, start:stop] = True
            if place + 1 == len(changes):
                changes.append({})
            changes[place + 1][block] = Edit(vectors, positions, torch.tensor(rows)).in_place
    return changes


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
def _last_perceptron_only_at(model: LanguageModel, slots: Tensor, positions: Tensor) -> Iterator[None]:
    """The last block's multilayer perceptron is computed at some places alone: nobody reads it elsewhere.

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

    perceptron = getattr(model.blocks[-1], "mlp", None)
    with ExitStack() as stack:
        if (
            isinstance(perceptron, nn.Module)
            and type(perceptron).__name__.endswith("MLP")
            and not hasattr(perceptron, "experts")
        ):
            stack.enter_context(perceptron.register_forward_pre_hook(take))
            stack.enter_context(perceptron.register_forward_hook(put))
        yield


@contextmanager
def _final_norm_only_once(norm: nn.Module) -> Iterator[None]:
    """The final norm is computed at one position alone: states are taken before it."""
    shapes: list[torch.Size] = []

    def first(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        shapes.append(inputs[0].shape)
        return (inputs[0][:, :1], *inputs[1:])

    def as_long(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output.expand(shapes.pop())  # some families (GPT-2) give it a shape that they have kept

    with norm.register_forward_pre_hook(first), norm.register_forward_hook(as_long):
        yield


def _one_mask(_module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Padding is on the right, so all rows have the same attention mask: keep one, which fits any number of slots.

    It is the only four-dimensional tensor that a block is given.
    """

    def one(value: Any) -> Any:
        return value[:1] if isinstance(value, Tensor) and value.ndim == 4 else value

    return tuple(one(value) for value in inputs), {name: one(value) for name, value in named.items()}
