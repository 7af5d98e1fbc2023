"""The battery: many wordings of the study's question and many control questions, all after one turn 1."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from introspection.engine.cache import Prefill
from introspection.engine.trial import Directions, Injection
from introspection.experiments.battery.tables import BATTERY
from introspection.experiments.subject import Run, Subject
from introspection.injection.answers import ask
from introspection.injection.cells import cells_of
from introspection.model.language_model import LanguageModel
from introspection.stimuli.battery import Battery, BatteryItem
from introspection.stimuli.prompts import Conversation, Stimuli
from introspection.tables import Outputs


def trials(subject: Subject) -> list[Run]:
    """Every question with nothing injected before it, and under every injection."""
    questions = battery_conversations(subject.stimuli, subject.stimuli.battery())
    cells = cells_of(list(questions), subject.questions.injections(subject.vectors))
    return [subject.run(questions, cells)]


def measure(subject: Subject) -> Outputs:
    """The answers to all questions, those after the finetune's turn 1 included."""
    table = ask_battery(
        subject.model,
        subject.stimuli,
        subject.questions.injections(subject.vectors),
        subject.directions(subject.vectors),
        subject.prefills,
        tokens_per_batch=subject.tokens_per_batch,
        progress="battery",
    )
    return {BATTERY.name: BATTERY.of(table)}


def ask_battery(
    model: LanguageModel,
    stimuli: Stimuli,
    injections: Sequence[Injection],
    directions: Directions,
    turns_1: dict[str, Prefill] | None = None,
    *,
    tokens_per_batch: int | None = None,
    progress: str | None = None,
) -> pd.DataFrame:
    """The rows of `ask`, for every question after turn 1 of every prompt of the battery, with what the question is.

    turns_1: by prompt, turn 1 as another model has read it, the same before every question.
    """
    battery = stimuli.battery()
    asked = _asked(battery)
    table = ask(
        model,
        stimuli,
        battery_conversations(stimuli, battery),
        injections,
        directions,
        {key: turns_1[prompt] for key, (prompt, _) in asked.items()} if turns_1 else None,
        answers={key: battery.formats[item.format].answers for key, (_, item) in asked.items()},
        tokens_per_batch=tokens_per_batch,
        progress=progress,
    )
    what = pd.DataFrame(
        [
            {
                "prompt": prompt,
                "item": item.text,
                "group": item.group,
                "format": item.format,
                "answers": battery.formats[item.format].kind,
                "polarity": item.polarity,
                "pair": item.pair,
            }
            for prompt, item in map(asked.__getitem__, table.pop("prompt"))
        ]
    ).astype({"polarity": "Int64", "pair": "Int64"})
    return pd.concat([table.pop("vector"), what, table], axis=1)


def battery_conversations(stimuli: Stimuli, battery: Battery) -> dict[str, Conversation]:
    """Every question after turn 1 of every prompt, by a key that names both."""
    return {
        key: stimuli.battery_conversation(battery, stimuli.detection[prompt], item)
        for key, (prompt, item) in _asked(battery).items()
    }


def _asked(battery: Battery) -> dict[str, tuple[str, BatteryItem]]:
    return {
        f"{prompt}, {item.format}: {item.text}": (prompt, item) for prompt in battery.prompts for item in battery.items
    }
