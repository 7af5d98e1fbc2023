"""Can the model answer at all? Its accuracy on questions of known answer, and what an injection leaves of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from introspection import names

ANSWERS = ("yes", "no")


@dataclass(frozen=True)
class Unsteered:
    """The competence of a model with nothing injected. accuracy: balanced over right answers; answer_mass: a mean."""

    accuracy: float
    answer_mass: float

    def can_answer(self, accuracy_at_least: float, answer_mass_at_least: float) -> bool:
        """Whether it reaches both thresholds."""
        return self.accuracy >= accuracy_at_least and self.answer_mass >= answer_mass_at_least


def competence(controls: pd.DataFrame, expected: Mapping[str, str], confidence: float) -> pd.DataFrame:
    """A row of `competence.csv` with nothing injected (vector `none`), then one for each vector of the control table.

    expected: yes or no for each question. An answer is right where the difference of the logits has the sign of the
    right answer; a tie is wrong. Intervals are Wilson's. Raises ValueError for a question without a known answer, and
    where none is to be answered yes or none no: a model that always says the same would pass.
    """
    if unknown := set(controls["question"]) - set(expected):
        raise ValueError(f"no right answer is known to {min(unknown)!r}: ask the control questions again")
    for answer in ANSWERS:
        if answer not in {expected[question] for question in controls["question"]}:
            raise ValueError(
                f"no control question is to be answered {answer}: competence needs questions of both kinds"
            )
    first = controls[controls["vector"] == controls["vector"].iloc[0]]  # the unsteered answers are the same beside each
    arms = [(names.NOTHING, "base", first)]
    arms += [(str(vector), "injected", rows) for vector, rows in controls.groupby("vector", sort=False)]
    return pd.DataFrame([_row(vector, arm, rows, expected, confidence) for vector, arm, rows in arms])


def unsteered(table: pd.DataFrame) -> Unsteered:
    """What a competence table says of the model with nothing injected."""
    row = table[table["vector"] == names.NOTHING].iloc[0]
    return Unsteered(*(float(f"{row[name]:.9g}") for name in ("balanced_accuracy", "answer_mass")))


def _row(vector: str, arm: str, rows: pd.DataFrame, expected: Mapping[str, str], confidence: float) -> dict[str, Any]:
    answers = rows["question"].map(expected)
    right = np.sign(rows[f"logit_difference_{arm}"]) == answers.map({"yes": 1, "no": -1})
    low, high = proportion_confint(right.sum(), len(right), alpha=1 - confidence, method="wilson")
    by_answer = {answer: right[answers == answer].mean() for answer in ANSWERS}
    return {
        "vector": vector,
        "questions": len(right),
        "right": int(right.sum()),
        "accuracy": right.mean(),
        "accuracy_low": max(0.0, low),  # at the ends Wilson's bounds round past them
        "accuracy_high": min(1.0, high),
        **{f"accuracy_{answer}": share for answer, share in by_answer.items()},
        "balanced_accuracy": sum(by_answer.values()) / len(by_answer),
        "answer_mass": rows[f"answer_mass_{arm}"].mean(),
    }
