"""Experiment 3, and its part in 7: does an injection push questions that have nothing to do with it?"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from introspection.engine.cache import Prefill
from introspection.engine.trial import Directions, Injection
from introspection.experiments.controls.tables import CONTROLS
from introspection.experiments.subject import Run, Subject
from introspection.injection.answers import ask
from introspection.injection.cells import cells_of
from introspection.model.language_model import LanguageModel
from introspection.stimuli.prompts import Conversation, Stimuli
from introspection.tables import Outputs


def trials(subject: Subject) -> list[Run]:
    """Every question with nothing injected before it, and under every injection."""
    questions = control_conversations(subject.stimuli)
    cells = cells_of(list(questions), subject.questions.injections(subject.detected))
    return [subject.run(questions, cells)]


def measure(subject: Subject) -> Outputs:
    """The answers to all control questions, those after the finetune's turn 1 included."""
    table = ask_controls(
        subject.model,
        subject.stimuli,
        subject.questions.injections(subject.detected),
        subject.directions(subject.detected),
        subject.prefills.get(subject.stimuli.control_prompt),
        tokens_per_batch=subject.tokens_per_batch,
        progress="controls",
    )
    return {CONTROLS.name: CONTROLS.of(table)}


def control_conversations(stimuli: Stimuli) -> dict[str, Conversation]:
    """Turn 1 of the control prompt and each control question, by question."""
    return {each.question: stimuli.control_conversation(each) for each in stimuli.controls}


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
    """The control questions in place of the second turn.

    turn_1: the turn 1 of the control prompt as another model has read it, the same before every question.
    Returns the rows of `ask` with the question in place of the prompt, and its group.
    """
    conversations = control_conversations(stimuli)
    table = ask(
        model,
        stimuli,
        conversations,
        injections,
        directions,
        dict.fromkeys(conversations, turn_1) if turn_1 else None,
        tokens_per_batch=tokens_per_batch,
        progress=progress,
    ).rename(columns={"prompt": "question"})
    groups = {question.question: question.group for question in stimuli.controls}
    table.insert(2, "group", table["question"].map(groups))
    return table
