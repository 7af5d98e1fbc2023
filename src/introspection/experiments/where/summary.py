"""Where, summed up: accuracies with their intervals, and p-values."""

from __future__ import annotations

from pathlib import Path

from introspection.experiments.where.statistics import where_summary
from introspection.experiments.where.tables import SUMMARY, WHERE
from introspection.settings import Settings


def summarise(settings: Settings, key: str, folder: Path) -> dict[str, object]:
    """`where_summary.csv` of a model, whose result files lie in `folder`."""
    where = WHERE.read(folder / WHERE.name, f"make it with `dvc repro where@{key}`")
    return {SUMMARY.name: SUMMARY.of(where_summary(where, settings.where))}
