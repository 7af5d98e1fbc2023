"""Does the model say yes? Every conversation under every injection, beside the same conversation with none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from introspection.engine.cache import Prefill
from introspection.engine.trial import Directions, Injection
from introspection.injection.cells import cell_columns, cells_of, run_cells
from introspection.model.language_model import LanguageModel
from introspection.model.readout import read_answers
from introspection.settings import ModelSettings
from introspection.stimuli.prompts import Conversation, Stimuli

READOUT = [
    f"{name}_{arm}{rounding}"
    for name, rounding in (("p_yes", ""), ("p_no", ""), ("log_odds_yes", ""), ("p_yes", "_bf16"), ("p_no", "_bf16"))
    for arm in ("base", "injected")
]
PERSONA = "persona"


def study_injections(
    settings: ModelSettings, vectors: Sequence[str], layers: tuple[int, int] | None = None
) -> list[Injection]:
    """Each vector at the model's strength and layers (or other layers); the persona vector at its own strength."""
    first, last = layers or settings.layers
    strengths = {PERSONA: settings.contrast.strength} if settings.contrast else {}
    return [Injection(vector, strengths.get(vector, settings.strength), first, last) for vector in vectors]


def detect(
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
    return pd.concat([cell_columns(cells), answers[READOUT]], axis=1)


def ask_controls(
    model: LanguageModel,
    stimuli: Stimuli,
    injections: Sequence[Injection],
    directions: Directions,
    turn_1: Prefill | None = None,
    *,
    tokens_per_batch: int | None = None,
    progress: str | None = None,
) -> pd.DataFrame:
    """The control questions in place of the second turn: does an injection push any question towards yes?

    turn_1: the turn 1 of the control prompt as another model has read it, the same before every question.
    Returns the rows of `detect` with the question in place of the prompt, and its group.
    """
    groups = {question.question: question.group for question in stimuli.controls}
    conversations = {question: stimuli.control_conversation(question) for question in groups}
    table = detect(
        model,
        stimuli,
        conversations,
        injections,
        directions,
        dict.fromkeys(groups, turn_1) if turn_1 else None,
        tokens_per_batch=tokens_per_batch,
        progress=progress,
    ).rename(columns={"prompt": "question"})
    table.insert(2, "group", table["question"].map(groups))
    return table
