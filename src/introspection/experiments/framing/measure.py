"""Is it the framing? The study's question and part of the battery after every frame, with and without explanation."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from introspection import names
from introspection.engine.trial import Injection
from introspection.experiments.battery.part import Questions, measured, part_of_battery
from introspection.experiments.framing.tables import FRAMING
from introspection.experiments.subject import Run, Subject
from introspection.injection.answers import ask
from introspection.injection.cells import cells_of
from introspection.injection.filler import tokens_in_turn_1
from introspection.tables import Outputs

FLOOR = 2  # random directions


class Framed(NamedTuple):
    """A turn 1, and what is asked after it."""

    frame: str
    support: str
    asked: Questions


def trials(subject: Subject) -> list[Run]:
    """Every question after every turn 1, with nothing injected and under every injection."""
    injections = _injections(subject)
    return [
        subject.run(each.asked.conversations, cells_of(list(each.asked.conversations), injections))
        for each in _framed(subject)
    ]


def measure(subject: Subject) -> Outputs:
    """A row for every injection and every turn 1, over the questions."""
    injections = _injections(subject)
    directions = subject.directions([each.vector for each in injections])
    rows = []
    for framed in _framed(subject):
        asked = framed.asked
        table = ask(
            subject.model,
            subject.stimuli,
            asked.conversations,
            injections,
            directions,
            answers=asked.answers,
            tokens_per_batch=subject.tokens_per_batch,
            progress=f"{framed.frame}, {framed.support}",
        )
        tokens = tokens_in_turn_1(subject.model.tokenizer, asked.study)
        size = len(asked.conversations)
        for place, injection in enumerate(injections):
            what = {
                "vector": injection.vector,
                "frame": framed.frame,
                "support": framed.support,
                "strength": injection.strength,
                "first_layer": injection.first_layer,
                "last_layer": injection.last_layer,
                "tokens_turn_1": tokens,
            }
            rows.append(what | measured(table.iloc[place * size : (place + 1) * size], asked))
    return {FRAMING.name: FRAMING.of(pd.DataFrame(rows))}


def _injections(subject: Subject) -> list[Injection]:
    drawn = min(FLOOR, subject.settings.study.random_directions)
    floor = [names.random_name(number) for number in range(1, drawn + 1)]
    return list(subject.questions.injections([*subject.concepts, *floor]))


def _framed(subject: Subject) -> list[Framed]:
    rule, stimuli = subject.settings.framing, subject.stimuli
    file = stimuli.framing()
    return [
        Framed(
            frame,
            support,
            part_of_battery(
                stimuli, stimuli.framed_conversation(prompt, file.frames[frame]), rule.pairs, rule.controls
            ),
        )
        for support, prompt in file.supports.items()
        for frame in file.frames
    ]
