"""Model and readers summed up, from `reader.csv` alone."""

from __future__ import annotations

from pathlib import Path

from introspection.experiments.reader.statistics import reader_summary
from introspection.experiments.reader.tables import READER, SUMMARY
from introspection.settings import Settings


def summarise(settings: Settings, key: str, folder: Path) -> dict[str, object]:
    """`reader_summary.csv` of a model, whose result files lie in `folder`."""
    table = READER.read(folder / READER.name, f"make it with `dvc repro reader@{key}`")
    return {SUMMARY.name: SUMMARY.of(reader_summary(table, settings.reader))}
