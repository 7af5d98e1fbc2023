"""The control questions summed up: mean and standard deviation of the shift, and the questions left out."""

from __future__ import annotations

from pathlib import Path

from introspection.experiments.controls.statistics import control_statistics
from introspection.experiments.controls.tables import CONTROLS, STATISTICS
from introspection.files import PROMPTS
from introspection.settings import Settings
from introspection.stimuli.prompts import Stimuli


def summarise(settings: Settings, key: str, folder: Path) -> dict[str, object]:
    """`control_statistics.csv` and `controls_excluded.json` of a model, whose result files lie in `folder`."""
    above = settings.controls.exclude_above
    controls = CONTROLS.read(folder / CONTROLS.name, f"make it with `dvc repro controls@{key}`")
    found = control_statistics(controls, Stimuli(PROMPTS).expected, above)
    return {
        STATISTICS.name: STATISTICS.of(found.table),
        "controls_excluded.json": {"excluded": found.excluded, "exclude_above": above},
    }
