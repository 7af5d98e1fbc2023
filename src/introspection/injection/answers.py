"""Yes or no? Every conversation under every injection, beside the same conversation with none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from torch import Tensor

from introspection.engine.cache import Prefill
from introspection.engine.trial import Directions, Injection
from introspection.injection.cells import Cell, cell_columns, cells_of, run_cells
from introspection.model.language_model import LanguageModel
from introspection.model.readout import read_answers
from introspection.stimuli.battery import Answers
from introspection.stimuli.prompts import Conversation, Stimuli
from introspection.tables import READOUT, names_of


def ask(
    model: LanguageModel,
    stimuli: Stimuli,
    conversations: Mapping[str, Conversation],
    injections: Sequence[Injection],
    directions: Directions,
    prefills: Mapping[str, Prefill] | None = None,
    *,
    answers: Mapping[str, Answers] | None = None,
    tokens_per_batch: int | None = None,
    progress: str | None = None,
) -> pd.DataFrame:
    """The yes/no answer to each conversation, unsteered and under each injection, all in one run of the engine.

    prefills: for each conversation's key, its turn 1 as another model has read it; adds rows with vector `finetune`.
    answers: for each conversation's key, the texts that mean yes and no; the study's own, where none are given.
    Returns one row per injection and conversation, in that order, as `ask_cells`.
    """
    return ask_cells(
        model,
        stimuli,
        conversations,
        cells_of(list(conversations), injections, prefills),
        directions,
        prefills,
        answers=answers,
        tokens_per_batch=tokens_per_batch,
        progress=progress,
    )


def ask_cells(
    model: LanguageModel,
    stimuli: Stimuli,
    conversations: Mapping[str, Conversation],
    cells: Sequence[Cell],
    directions: Directions,
    prefills: Mapping[str, Prefill] | None = None,
    *,
    answers: Mapping[str, Answers] | None = None,
    tokens_per_batch: int | None = None,
    progress: str | None = None,
) -> pd.DataFrame:
    """The same for any choice of cells.

    Returns one row per cell: vector, prompt (the conversation's key), strength, first_layer, last_layer (missing for
    the finetune), and the readout columns.
    """
    pairs = dict.fromkeys(conversations, Answers(stimuli.yes, stimuli.no)) | dict(answers or {})
    for text in sorted({text for pair in pairs.values() for text in pair}):
        model.token(text)  # what is no answer of this model shows before it computes
    readings = run_cells(
        model,
        conversations,
        cells,
        directions,
        prefills,
        layers=[len(model.blocks)],
        tokens_per_batch=tokens_per_batch,
        progress=progress,
    )
    base = _read(model, readings.base[:, 0], list(pairs.values())).iloc[readings.conversations].reset_index(drop=True)
    injected = _read(model, readings.injected[:, 0], [pairs[cell.conversation] for cell in cells])
    answered = pd.concat([base.add_suffix("_base"), injected.add_suffix("_injected")], axis=1)
    # p_yes_bf16_injected is called p_yes_injected_bf16 in the files
    answered.columns = [f"{c.replace('_bf16', '')}_bf16" if "_bf16" in c else c for c in answered.columns]
    return pd.concat([cell_columns(cells), answered[names_of(READOUT)]], axis=1)


def _read(model: LanguageModel, final_states: Tensor, pairs: Sequence[Answers]) -> pd.DataFrame:
    """The answer in each row of (rows, hidden), read as the pair of texts of that row."""
    parts = []
    for pair in dict.fromkeys(pairs):
        rows = [row for row, each in enumerate(pairs) if each == pair]
        parts.append(pd.DataFrame(read_answers(model, final_states[rows], *pair), index=rows))
    return pd.concat(parts).sort_index()
