"""Better than a reader? The model's answers, and those of readers of its states that were trained on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from introspection import names
from introspection.experiments.population.concepts import spread
from introspection.experiments.reader.evidence import (
    QUESTIONS,
    Evidence,
    Example,
    examples,
    gathered,
    half_directions,
    trials_of,
)
from introspection.experiments.reader.readers import Reading, folds, read
from introspection.experiments.reader.tables import CACHE, DETECTION, DIRECTION, READER, RESIDUAL, WHICH
from introspection.experiments.subject import Run, Subject
from introspection.injection.vectors import concept_trials
from introspection.model.language_model import LanguageModel
from introspection.model.readout import read_answers, read_choice
from introspection.stimuli.which import NUMBERS
from introspection.tables import Outputs, names_of

SOMETHING, NO_THING = "something", "nothing"


@dataclass(frozen=True)
class Task:
    """What is to be told: of which examples (their places), what is right, and what the model says.

    groups: of each example, what must be new to a reader. scores: the model's leaning, None where it has none.
    """

    name: str
    question: str
    places: Sequence[int]
    truth: Sequence[str]
    said: Sequence[str]
    groups: Sequence[int | None]
    scores: Sequence[float] | None


def trials(subject: Subject) -> list[Run]:
    """What vectors of halves of the suffixes are trained on, and every example before every question."""
    rule, model, stimuli = subject.settings.reader, subject.model, subject.stimuli
    suffixes = spread(subject.suffixes, rule.suffixes)
    requests = [*subject.settings.which.concepts, stimuli.anything]
    training = [Run(concept_trials(model.tokenizer, stimuli, each, suffixes), 0) for each in requests]
    return [*training, Run([trial for each in examples(subject) for trial in trials_of(subject, each)])]


def measure(subject: Subject) -> Outputs:
    """Every example's answers: the model's, and each reader's, trained on others."""
    asked, rule = examples(subject), subject.settings.reader
    directions = half_directions(subject)
    found = list(tqdm(gathered(subject, asked, directions), total=len(asked), desc="reader", unit="example"))
    rows: list[dict[str, Any]] = []
    for task in _tasks(subject, asked, found):
        parts = folds([asked[place].half for place in task.places], task.groups)
        for kind in (RESIDUAL, CACHE):
            features = np.stack([_features(found[place], kind, task.question) for place in task.places])
            for reading in read(features, task.truth, parts, rule.few, rule.seed):
                rows += _rows(task, kind, reading, asked)
    return {READER.name: READER.of(pd.DataFrame(rows, columns=names_of(READER.columns)))}


def _features(evidence: Evidence, kind: str, question: str) -> Any:
    kept = evidence.cache if kind == CACHE else evidence.residual[question].flatten()
    return kept.numpy()


def _tasks(subject: Subject, asked: Sequence[Example], found: Sequence[Evidence]) -> list[Task]:
    """The tasks that the model can answer: `which` only where the ten numbers are tokens of it."""
    model, concepts = subject.model, list(subject.settings.which.concepts)
    last = {question: torch.stack([each.residual[question][-1] for each in found]) for question in QUESTIONS}
    yes = read_answers(model, last[DETECTION], subject.stimuli.yes, subject.stimuli.no)["logit_difference"].tolist()
    kinds = [names.NOTHING if each.vector == names.NOTHING else names.kind_of(each.vector) for each in asked]
    tasks = []
    if all(model.is_token(number) for number in NUMBERS):
        places = [place for place, kind in enumerate(kinds) if kind != "random"]
        chosen = _chosen(model, last[WHICH])
        said = [asked[place].order[chosen[place]] for place in places]
        truth = [asked[place].vector for place in places]
        tasks.append(Task(WHICH, WHICH, places, truth, said, [None] * len(places), None))
    for name, other in ((DETECTION, names.NOTHING), (DIRECTION, "random")):
        places = [place for place, kind in enumerate(kinds) if kind in ("concept", other)]
        tasks.append(
            Task(
                name,
                DETECTION,
                places,
                [SOMETHING if kinds[place] == "concept" else NO_THING for place in places],
                [SOMETHING if yes[place] > 0 else NO_THING for place in places],
                [concepts.index(v) % 2 if (v := asked[place].vector) in concepts else None for place in places],
                [yes[place] for place in places],
            )
        )
    return [task for task in tasks if len(set(task.truth)) > 1]


def _chosen(model: LanguageModel, states: Tensor) -> list[int]:
    restricted, _ = read_choice(model, states, [model.token(number) for number in NUMBERS])
    found: list[int] = restricted.argmax(dim=-1).tolist()
    return found


def _rows(task: Task, kind: str, reading: Reading, asked: Sequence[Example]) -> list[dict[str, Any]]:
    rows = []
    for number, row in enumerate(reading.rows):
        example = asked[task.places[row]]
        rows.append(
            {
                "task": task.name,
                "evidence": kind,
                "reader": reading.reader,
                "examples": reading.examples,
                "passage": example.passage,
                "vector": example.vector,
                "half": example.half,
                "truth": task.truth[row],
                "read": str(reading.labels[number]),
                "said": task.said[row],
                "read_score": None if task.scores is None or reading.scores is None else reading.scores[number],
                "said_score": None if task.scores is None else task.scores[row],
            }
        )
    return rows
