"""What the injection leaves of the model's answers in the range that the sweep chose."""

from __future__ import annotations

from pathlib import Path

from introspection.experiments.competence.statistics import competence
from introspection.experiments.competence.tables import COMPETENCE
from introspection.experiments.controls.tables import CONTROLS
from introspection.files import PROMPTS
from introspection.settings import Settings
from introspection.stimuli.prompts import Stimuli


def summarise(settings: Settings, key: str, folder: Path) -> dict[str, object]:
    """`chosen_range/competence.csv` of a model, whose result files lie in `folder`."""
    path = folder / "chosen_range" / CONTROLS.name
    controls = CONTROLS.read(path, f"make it with `dvc repro chosen-range@{key}`")
    table = competence(controls, Stimuli(PROMPTS).expected, settings.competence.confidence)
    return {f"chosen_range/{COMPETENCE.name}": COMPETENCE.of(table)}
