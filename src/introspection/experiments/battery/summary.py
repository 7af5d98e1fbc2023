"""The battery summed up: the line of the control questions under every injection, and what it leaves of detection."""

from __future__ import annotations

from pathlib import Path

from introspection.experiments.battery.statistics import battery_fit, battery_phrasings
from introspection.experiments.battery.tables import BATTERY, FIT, PHRASINGS
from introspection.settings import Settings


def summarise(settings: Settings, key: str, folder: Path) -> dict[str, object]:
    """`battery_fit.csv` and `battery_phrasings.csv` of a model, whose result files lie in `folder`."""
    battery = BATTERY.read(folder / BATTERY.name, f"make it with `dvc repro battery@{key}`")
    return {
        FIT.name: FIT.of(battery_fit(battery, settings.battery)),
        PHRASINGS.name: PHRASINGS.of(battery_phrasings(battery)),
    }
