"""The study's question and part of the battery, after one turn 1, at every strength in every window of blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from introspection import names
from introspection.engine.trial import Injection
from introspection.experiments.battery.part import Questions, measured, part_of_battery
from introspection.experiments.dose.rule import mean_norm
from introspection.experiments.dose.tables import NORMS
from introspection.experiments.places.tables import PLACES
from introspection.experiments.subject import Run, Subject
from introspection.injection.answers import ask
from introspection.injection.cells import cells_of
from introspection.injection.dose import of_norm
from introspection.tables import Outputs


@dataclass(frozen=True)
class Arm:
    """An injection, and its strength as a fraction of the residual stream's mean norm where it is added."""

    injection: Injection
    fraction: float


def trials(subject: Subject) -> list[Run]:
    """Every question with nothing injected, and under every injection.

    The strengths are those of a residual stream of norm 1: which rows share their computation does not depend on it.
    """
    asked = _questions(subject)
    ones = pd.DataFrame({"layer": range(len(subject.model.blocks) + 1), "mean_norm": 1.0})
    injections = [arm.injection for arm in _arms(subject, ones)]
    return [subject.run(asked.conversations, cells_of(list(asked.conversations), injections))]


def measure(subject: Subject) -> Outputs:
    """A row for every injection, over the questions."""
    asked = _questions(subject)
    norms = NORMS.read(subject.folder / NORMS.name, f"make it with `dvc repro dose@{subject.key}`")
    arms = _arms(subject, norms)
    injections = [arm.injection for arm in arms]
    table = ask(
        subject.model,
        subject.stimuli,
        asked.conversations,
        injections,
        subject.directions([injection.vector for injection in injections]),
        answers=asked.answers,
        tokens_per_batch=subject.tokens_per_batch,
        progress="places",
    )
    size = len(asked.conversations)
    rows = [
        _row(arm, table.iloc[place * size : (place + 1) * size], asked, subject.questions.layers)
        for place, arm in enumerate(arms)
    ]
    return {PLACES.name: PLACES.of(pd.DataFrame(rows))}


def windows(blocks: int, count: int) -> list[tuple[int, int]]:
    """So many inclusive windows of about equal length that together are blocks 1 to the last but one.

    What is added after the last block can be read nowhere later. Fewer windows where there are fewer blocks.
    """
    parts = np.array_split(np.arange(1, blocks - 1), min(count, blocks - 2))
    return [(int(part[0]), int(part[-1])) for part in parts]


def _arms(subject: Subject, norms: pd.DataFrame) -> list[Arm]:
    """Every vector at every fraction in every window; in the own layers also at the strength and parts of it."""
    rule, dose = subject.settings.places, subject.questions
    floor = [names.random_name(1)] if subject.settings.study.random_directions else []
    arms = []
    for window in dict.fromkeys([dose.layers, *windows(len(subject.model.blocks), rule.windows)]):
        norm = mean_norm(norms, window)
        strengths = {of_norm(fraction, norm): fraction for fraction in rule.fractions}
        if window == dose.layers:
            strengths |= {part * dose.strength: part * dose.strength / norm for part in rule.parts_of_strength}
        arms += [
            Arm(Injection(vector, strength, *window), strengths[strength])
            for vector in (*rule.concepts, *floor)
            for strength in sorted(strengths)
        ]
    return arms


def _questions(subject: Subject) -> Questions:
    rule, stimuli = subject.settings.places, subject.stimuli
    return part_of_battery(stimuli, stimuli.detection[stimuli.control_prompt], rule.pairs, rule.controls)


def _row(arm: Arm, answered: pd.DataFrame, asked: Questions, own: tuple[int, int]) -> dict[str, object]:
    """A row of the table, from the answers to all questions under one injection."""
    return {
        "vector": arm.injection.vector,
        "first_layer": arm.injection.first_layer,
        "last_layer": arm.injection.last_layer,
        "own": (arm.injection.first_layer, arm.injection.last_layer) == own,
        "fraction": arm.fraction,
        "strength": arm.injection.strength,
        **measured(answered, asked),
    }
