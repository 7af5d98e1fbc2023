"""Cells: a conversation with an injection beside the same with none. Every experiment is a set of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import Tensor

from introspection.engine.cache import Prefill
from introspection.engine.run import run_prefilled, run_trials
from introspection.engine.trial import Directions, Injection, Trial
from introspection.model.language_model import LanguageModel
from introspection.names import FINETUNE
from introspection.stimuli.chat import EncodedConversation, encode
from introspection.stimuli.prompts import Conversation


@dataclass(frozen=True)
class Cell:
    """A conversation, by its key, under an injection; None where the finetune has read turn 1 instead."""

    conversation: str
    injection: Injection | None

    @property
    def vector(self) -> str:
        """The name of the injected vector, or `finetune`."""
        return self.injection.vector if self.injection else FINETUNE


@dataclass(frozen=True)
class Readings:
    """The residual stream at the last token of every cell.

    base: without the injection, once for each conversation, (conversations, layers, hidden).
    injected: (cells, layers, hidden).
    conversations: for each cell, its row of `base`.
    """

    base: Tensor
    injected: Tensor
    conversations: list[int]


def run_cells(
    model: LanguageModel,
    conversations: Mapping[str, Conversation],
    cells: Sequence[Cell],
    directions: Directions,
    prefills: Mapping[str, Prefill] | None = None,
    *,
    layers: Sequence[int] | None = None,
    tokens_per_batch: int | None = None,
    progress: str | None = None,
) -> Readings:
    """Both arms of every cell, and the unsteered arm of every conversation once, in one run of the engine.

    prefills: for each conversation of the finetune's cells, its turn 1 as the finetune has read it.
    layers: the depths to keep, as in `run_trials`. Raises ValueError where a prefill is of another turn 1.
    """
    encoded = encode_all(model.tokenizer, conversations)
    steered = [row for row, cell in enumerate(cells) if cell.injection]
    swapped = [row for row, cell in enumerate(cells) if not cell.injection]
    trials = cell_trials(encoded, cells)
    states = run_trials(model, trials, directions, layers=layers, tokens_per_batch=tokens_per_batch, progress=progress)
    base, found = states[: len(encoded)], states[len(encoded) :]
    injected = found.new_empty(len(cells), *found.shape[1:])
    injected[steered] = found
    if swapped:
        keys = [cells[row].conversation for row in swapped]
        turns_1 = [_prefill_of(key, encoded[key], prefills or {}) for key in keys]
        rest = [encoded[key].token_ids[encoded[key].steered[1] :] for key in keys]
        injected[swapped] = run_prefilled(model, turns_1, rest, layers=layers, tokens_per_batch=tokens_per_batch)
    numbers = {key: number for number, key in enumerate(encoded)}
    return Readings(base, injected, [numbers[cell.conversation] for cell in cells])


def encode_all(tokenizer: Any, conversations: Mapping[str, Conversation]) -> dict[str, EncodedConversation]:
    """Every conversation as tokens, by its key."""
    return {key: encode(tokenizer, conversation) for key, conversation in conversations.items()}


def cell_trials(encoded: Mapping[str, EncodedConversation], cells: Sequence[Cell]) -> list[Trial]:
    """What the engine runs: every conversation with nothing injected, then every cell with an injection."""
    trials = [Trial(text.token_ids, text.steered) for text in encoded.values()]
    for cell in cells:
        if cell.injection:
            text = encoded[cell.conversation]
            trials.append(Trial(text.token_ids, text.steered, (cell.injection,)))
    return trials


def cells_of(
    conversations: Sequence[str], injections: Sequence[Injection], prefills: Mapping[str, Prefill] | None = None
) -> list[Cell]:
    """Every injection with every conversation, in that order, and after them the finetune where there are prefills."""
    arms: list[Injection | None] = [*injections, *([None] if prefills else [])]
    return [Cell(conversation, arm) for arm in arms for conversation in conversations]


def cell_columns(cells: Sequence[Cell], conversation: str = "prompt") -> pd.DataFrame:
    """The key columns vector, `conversation`, strength, first_layer, last_layer; no numbers for the finetune."""
    injections = [cell.injection for cell in cells]
    return pd.DataFrame(
        {
            "vector": [cell.vector for cell in cells],
            conversation: [cell.conversation for cell in cells],
            "strength": [arm.strength if arm else float("nan") for arm in injections],
            "first_layer": pd.array([arm.first_layer if arm else None for arm in injections], dtype="Int64"),
            "last_layer": pd.array([arm.last_layer if arm else None for arm in injections], dtype="Int64"),
        }
    )


def _prefill_of(key: str, text: EncodedConversation, prefills: Mapping[str, Prefill]) -> Prefill:
    if key not in prefills:
        raise ValueError(f"the finetune has not read turn 1 of {key!r}; run the stage `prefill` of this model again")
    if prefills[key].token_ids != text.token_ids[: text.steered[1]]:
        raise ValueError(
            f"the finetune has read another turn 1 than that of {key!r}; run the stage `prefill` of this model again"
        )
    return prefills[key]
