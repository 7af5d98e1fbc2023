"""Can the model answer at all? A table by what was injected, and whether it passes with nothing injected."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from introspection.experiments.competence.statistics import competence, unsteered
from introspection.experiments.competence.tables import COMPETENCE
from introspection.experiments.controls.tables import CONTROLS
from introspection.files import PROMPTS
from introspection.settings import Settings
from introspection.stimuli.prompts import Stimuli


def summarise(settings: Settings, key: str, folder: Path) -> dict[str, object]:
    """`competence.csv` and `competence.json` of a model, whose result files lie in `folder`."""
    rule = settings.competence
    controls = CONTROLS.read(folder / CONTROLS.name, f"make it with `dvc repro controls@{key}`")
    expected = Stimuli(PROMPTS).expected
    table = competence(controls, expected, rule.confidence)
    found = unsteered(table)
    return {
        COMPETENCE.name: COMPETENCE.of(table),
        "competence.json": {
            "unsteered": asdict(found),
            "can_answer": found.can_answer(rule.accuracy_at_least, rule.answer_mass_at_least),
        },
    }
