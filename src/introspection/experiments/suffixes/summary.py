"""The intervals of the shift of yes over suffixes, from the answers under vectors of parts of them."""

from __future__ import annotations

from pathlib import Path

from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.suffixes.intervals import suffix_intervals
from introspection.experiments.suffixes.resampling import other_sign
from introspection.experiments.suffixes.tables import ASKED, INTERVALS
from introspection.settings import Settings


def summarise(settings: Settings, key: str, folder: Path) -> dict[str, object]:
    """`suffix_intervals.csv` of a model, whose result files lie in `folder`."""
    asked, detection = (
        table.read(folder / table.name, f"make it with `dvc repro {stage}@{key}`")
        for table, stage in ((ASKED, "suffixes"), (DETECTION, "detection"))
    )
    table = suffix_intervals(asked, detection, settings.suffixes.confidence, other_sign(settings.study.sign))
    return {INTERVALS.name: INTERVALS.of(table)}
