"""The population by kind: `population_summary.csv`, from the answers alone."""

from __future__ import annotations

from pathlib import Path

from introspection.experiments.population.statistics import summary
from introspection.experiments.population.tables import POPULATION, SUMMARY
from introspection.settings import Settings


def summarise(settings: Settings, key: str, folder: Path) -> dict[str, object]:
    """The summary of a model, whose result files lie in `folder`."""
    table = POPULATION.read(folder / POPULATION.name, f"make it with `dvc repro population@{key}`")
    return {SUMMARY.name: SUMMARY.of(summary(table, settings.population))}
