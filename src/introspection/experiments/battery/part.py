"""Part of the battery beside the study's question, asked after one turn 1, and what comes of it under an injection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from introspection.experiments.battery.statistics import line
from introspection.stimuli.battery import CONTROLS, Answers, BatteryItem
from introspection.stimuli.prompts import Conversation, Stimuli

STUDY = "the study's question"
EXPECTED = {CONTROLS["yes"]: 1, CONTROLS["no"]: -1}
"""The sign of the right answer to control questions, by their group."""


@dataclass(frozen=True)
class Questions:
    """What is asked, by a key: the study's question after a turn 1, and questions of the battery after the same."""

    conversations: Mapping[str, Conversation]
    answers: Mapping[str, Answers]
    items: Mapping[str, BatteryItem]

    @property
    def study(self) -> Conversation:
        """The conversation with the study's own question."""
        return self.conversations[STUDY]


def part_of_battery(stimuli: Stimuli, study: Conversation, pairs: int, controls: int) -> Questions:
    """So many wordings with their reversals, and control questions of each right answer, of those answered in words.

    study: the conversation of the study's question, whose turn 1 comes before all of them.
    """
    battery = stimuli.battery()
    words = [item for item in battery.items if battery.formats[item.format].kind == "words"]
    asked = sorted({item.pair for item in words if item.pair is not None})[:pairs]
    kept = [item for item in words if item.pair in asked]
    for group in CONTROLS.values():
        kept += [item for item in words if item.group == group][:controls]
    items = {f"{item.group}: {item.text}": item for item in kept}
    conversations = {key: stimuli.battery_conversation(battery, study, item) for key, item in items.items()}
    answers = {key: battery.formats[item.format].answers for key, item in items.items()}
    return Questions({STUDY: study, **conversations}, answers, items)


def measured(answered: pd.DataFrame, asked: Questions) -> dict[str, float]:
    """The values of the columns `MEASURED`, from the answers to all questions under one injection."""
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
    return {
        "p_yes_base": float(table["p_yes_base"].astype(float)[STUDY]),
        "p_yes_injected": float(table["p_yes_injected"].astype(float)[STUDY]),
        "shift": float(shift[STUDY]),
        "control_shift": float(shift[controls].mean()),
        "signed_shift": signed,
        "residual": signed - float((explained * polarity).mean()),
        "accuracy": float(np.mean(right)),
        "answer_mass": float(table["answer_mass_injected"].clip(upper=1).mean()),
    }
