"""State or text? Each concept written into turn 1, injected while turn 1 is read, both, and neither."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from introspection.engine.trial import Injection
from introspection.experiments.subject import Run, Subject
from introspection.experiments.written.tables import WRITTEN
from introspection.injection.answers import ask_cells
from introspection.injection.cells import Cell
from introspection.names import NOTHING, random_name
from introspection.stimuli.prompts import Conversation, Stimuli
from introspection.tables import Outputs


@dataclass(frozen=True)
class Text:
    """A turn 1: its prompt, the sentence at its end, and the concept that the sentence names (`none`: no concept)."""

    prompt: str
    sentence: str
    written: str

    @property
    def key(self) -> str:
        """A name for its conversation."""
        return f"{self.prompt}, {self.written}: {self.sentence}"


def trials(subject: Subject) -> list[Run]:
    """Every sentence about every concept and about none, under no injection and under those of `injections`."""
    texts = _texts(subject)
    return [subject.run(_conversations(subject.stimuli, texts), _cells(subject, texts))]


def measure(subject: Subject) -> Outputs:
    """The answers to the study's question after each."""
    texts = _texts(subject)
    cells = _cells(subject, texts)
    injected = [cell.injection.vector for cell in cells if cell.injection]
    table = ask_cells(
        subject.model,
        subject.stimuli,
        _conversations(subject.stimuli, texts),
        cells,
        subject.directions(injected),
        tokens_per_batch=subject.tokens_per_batch,
        progress="written",
    )
    by_key = {text.key: text for text in texts}
    asked = [by_key[key] for key in table.pop("prompt")]
    what = pd.DataFrame({name: [getattr(text, name) for text in asked] for name in ("written", "sentence", "prompt")})
    return {WRITTEN.name: WRITTEN.of(pd.concat([table.pop("vector"), what, table], axis=1))}


def _texts(subject: Subject) -> list[Text]:
    file = subject.stimuli.written()
    return [
        Text(prompt, sentence, written)
        for prompt in file.prompts
        for sentence in file.sentences
        for written in (NOTHING, *subject.concepts)
    ]


def _conversations(stimuli: Stimuli, texts: list[Text]) -> dict[str, Conversation]:
    neutral = stimuli.written().neutral
    return {
        text.key: stimuli.written_conversation(
            text.prompt, text.sentence, neutral if text.written == NOTHING else text.written
        )
        for text in texts
    }


def _cells(subject: Subject, texts: list[Text]) -> list[Cell]:
    """After a sentence about a concept, that one is injected; after one about none, each; and a random direction."""
    floor = [random_name(1)] if subject.settings.study.random_directions else []
    injections: dict[str, Injection] = {
        each.vector: each for each in subject.questions.injections([*subject.concepts, *floor])
    }
    return [
        Cell(text.key, injections[vector])
        for text in texts
        for vector in (*(subject.concepts if text.written == NOTHING else [text.written]), *floor)
    ]
