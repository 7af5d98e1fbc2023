"""Yes or no? Every conversation under every injection, beside the same conversation with none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from introspection.engine.cache import Prefill
from introspection.engine.trial import Directions, Injection
from introspection.injection.cells import cell_columns, cells_of, run_cells
from introspection.model.language_model import LanguageModel
from introspection.model.readout import read_answers
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
    tokens_per_batch: int | None = None,
    progress: str | None = None,
) -> pd.DataFrame:
    """The yes/no answer to each conversation, unsteered and under each injection, all in one run of the engine.

    prefills: for each conversation's key, its turn 1 as another model has read it; adds rows with vector `finetune`.
    Returns one row per injection and conversation, in that order: vector, prompt (the conversation's key), strength,
    first_layer, last_layer (missing for the finetune), and the readout columns.
    """
    cells = cells_of(list(conversations), injections, prefills)
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
    base = pd.DataFrame(read_answers(model, readings.base[:, 0], stimuli.yes, stimuli.no))
    base = base.iloc[readings.conversations].reset_index(drop=True)
    injected = pd.DataFrame(read_answers(model, readings.injected[:, 0], stimuli.yes, stimuli.no))
    answers = pd.concat([base.add_suffix("_base"), injected.add_suffix("_injected")], axis=1)
    # p_yes_bf16_injected is called p_yes_injected_bf16 in the files
    answers.columns = [f"{c.replace('_bf16', '')}_bf16" if "_bf16" in c else c for c in answers.columns]
    return pd.concat([cell_columns(cells), answers[names_of(READOUT)]], axis=1)
