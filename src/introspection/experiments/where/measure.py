"""Which half of a text, and which of its sentences, was injected into; beside each, a choice without introspection."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from introspection import names
from introspection.experiments.subject import Run, Subject
from introspection.experiments.where.tables import WHERE
from introspection.injection.cells import Cell, cell_columns, run_cells
from introspection.model.readout import log_probabilities
from introspection.stimuli.chat import passage_spans
from introspection.stimuli.prompts import Conversation
from introspection.stimuli.where import WhereItem
from introspection.tables import Outputs

Floats = NDArray[np.float64]

Positions = tuple[int, ...]
"""The tokens of a row at which a vector is added."""

Asked = dict[str, WhereItem]
"""By the key of its conversation, a question."""


def trials(subject: Subject) -> list[Run]:
    """Every question with nothing injected before it, and with each vector in each part of its text."""
    conversations = _conversations(subject)
    for letter in subject.stimuli.where().letters:
        subject.model.token(f" {letter}")  # what is no answer of this model shows before it computes
    return [subject.run(conversations, [cell for cell, _ in _cells(subject, conversations)])]


def measure(subject: Subject) -> Outputs:
    """The part that is chosen in every trial."""
    model, where, asked = subject.model, subject.stimuli.where(), _asked(subject)
    conversations = _conversations(subject)
    placed = _cells(subject, conversations)
    cells = [cell for cell, _ in placed]
    readings = run_cells(
        model,
        conversations,
        cells,
        subject.directions(_vectors(subject)),
        layers=[len(model.blocks)],
        tokens_per_batch=subject.tokens_per_batch,
        progress="where",
    )
    letters = {key: where.answers(item) for key, item in asked.items()}
    base = log_probabilities(model, readings.base[:, 0], [letters[key] for key in conversations])
    injected = log_probabilities(model, readings.injected[:, 0], [letters[cell.conversation] for cell in cells])
    keys = cell_columns(cells)
    rows = [
        _trial(asked[key], place, cell, base[conversation], found)
        for key, (cell, place), conversation, found in zip(
            keys.pop("prompt"), placed, readings.conversations, injected, strict=True
        )
    ]
    return {WHERE.name: WHERE.of(pd.concat([keys, pd.DataFrame(rows)], axis=1))}


def _trial(item: WhereItem, place: int, cell: Cell, base: Floats, injected: Floats) -> dict[str, Any]:
    """A trial's columns, from the log-probabilities of the parts' letters with nothing injected and injected."""
    assert cell.injection is not None and cell.injection.positions is not None
    return {
        "text": item.text + 1,
        "task": item.task,
        "aim": item.aim,
        "order": item.order,
        "place": place + 1,
        "places": len(injected),
        "tokens": len(cell.injection.positions),
        "chosen": injected.argmax() + 1,
        "chosen_debiased": (injected - base).argmax() + 1,
        "chosen_base": base.argmax() + 1,
        "p_place_injected": softmax(injected)[place],
        "p_place_base": softmax(base)[place],
        "answer_mass_injected": min(1.0, np.exp(injected).sum()),
        "answer_mass_base": min(1.0, np.exp(base).sum()),
    }


def _vectors(subject: Subject) -> list[str]:
    """The concepts, and random directions of both kinds."""
    count = min(subject.settings.where.directions, subject.settings.study.random_directions)
    return [*subject.concepts, *names.numbered("random", count), *names.numbered("coherent", count)]


def _asked(subject: Subject) -> Asked:
    return {f"{item.text}, {item.task}, {item.aim}, {item.order}": item for item in subject.stimuli.where().items}


def _conversations(subject: Subject) -> dict[str, Conversation]:
    where = subject.stimuli.where()
    return {key: subject.stimuli.where_conversation(where, item) for key, item in _asked(subject).items()}


def _cells(subject: Subject, conversations: dict[str, Conversation]) -> list[tuple[Cell, int]]:
    """Each vector in each part of each question's text, with the number of the part, from 0."""
    where, asked = subject.stimuli.where(), _asked(subject)

    @cache
    def positions(text: int, task: str) -> list[Positions]:
        """For each part of a text, its first tokens, as many as the shortest part has."""
        before = next(key for key, item in asked.items() if (item.text, item.task) == (text, task))
        spans = passage_spans(subject.model.tokenizer, conversations[before], where.passages(text, task))
        count = min(stop - start for start, stop in spans)
        return [tuple(range(start, start + count)) for start, _ in spans]

    return [
        (Cell(key, replace(injection, positions=part)), place)
        for injection in subject.questions.injections(_vectors(subject))
        for key, item in asked.items()
        for place, part in enumerate(positions(item.text, item.task))
    ]
