"""The study's question and part of the battery, after one turn 1, at every strength in every window of blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from introspection import names
from introspection.engine.trial import Injection
from introspection.experiments.battery.statistics import line
from introspection.experiments.dose.rule import mean_norm
from introspection.experiments.dose.tables import NORMS
from introspection.experiments.places.tables import PLACES
from introspection.experiments.subject import Run, Subject
from introspection.injection.answers import ask
from introspection.injection.cells import cells_of
from introspection.injection.dose import of_norm
from introspection.stimuli.battery import CONTROLS, Answers, BatteryItem
from introspection.stimuli.prompts import Conversation
from introspection.tables import Outputs

STUDY = "the study's question"
EXPECTED = {CONTROLS["yes"]: 1, CONTROLS["no"]: -1}
"""The sign of the right answer to control questions, by their group."""


@dataclass(frozen=True)
class Arm:
    """An injection, and its strength as a fraction of the residual stream's mean norm where it is added."""

    injection: Injection
    fraction: float


@dataclass(frozen=True)
class Questions:
    """What is asked, by a key: the study's question under the main prompt, and questions of the battery."""

    conversations: Mapping[str, Conversation]
    answers: Mapping[str, Answers]
    items: Mapping[str, BatteryItem]


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
    battery, main = stimuli.battery(), stimuli.control_prompt
    words = [item for item in battery.items if battery.formats[item.format].kind == "words"]
    pairs = sorted({item.pair for item in words if item.pair is not None})[: rule.pairs]
    kept = [item for item in words if item.pair in pairs]
    for group in CONTROLS.values():
        kept += [item for item in words if item.group == group][: rule.controls]
    items = {f"{item.group}: {item.text}": item for item in kept}
    conversations = {key: stimuli.battery_conversation(battery, main, item) for key, item in items.items()}
    answers = {key: battery.formats[item.format].answers for key, item in items.items()}
    return Questions({STUDY: stimuli.detection[main], **conversations}, answers, items)


def _row(arm: Arm, answered: pd.DataFrame, asked: Questions, own: tuple[int, int]) -> dict[str, object]:
    """A row of the table, from the answers to all questions under one injection."""
    table = answered.set_index("prompt")
    level = table["logit_difference_base"].astype(float)
    shift = table["logit_difference_injected"].astype(float) - level
    polarity = pd.Series({key: item.polarity for key, item in asked.items.items() if item.polarity}, dtype=float)
    controls = [key for key, item in asked.items.items() if item.polarity is None]
    bias, slope = line(np.array(level[controls], np.float64), np.array(shift[controls], np.float64))
    explained = bias + (slope - 1) * level[polarity.index]
    signed = float((shift[polarity.index] * polarity).mean())
    answer = np.sign(table["logit_difference_injected"].astype(float))
    expected = {key: EXPECTED[item.group] for key, item in asked.items.items() if item.group in EXPECTED}
    right = [np.mean([answer[key] == sign for key, sign in expected.items() if sign == side]) for side in (1, -1)]
    study = table.loc[STUDY]
    return {
        "vector": arm.injection.vector,
        "first_layer": arm.injection.first_layer,
        "last_layer": arm.injection.last_layer,
        "own": (arm.injection.first_layer, arm.injection.last_layer) == own,
        "fraction": arm.fraction,
        "strength": arm.injection.strength,
        "p_yes_base": study["p_yes_base"],
        "p_yes_injected": study["p_yes_injected"],
        "shift": float(shift[STUDY]),
        "control_shift": float(shift[controls].mean()),
        "signed_shift": signed,
        "residual": signed - float((explained * polarity).mean()),
        "accuracy": float(np.mean(right)),
        "answer_mass": float(table["answer_mass_injected"].clip(upper=1).mean()),
    }
