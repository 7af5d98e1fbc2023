"""Read the study's own figures again, from data/published alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from common import stage

from introspection.files import RESULTS, write_text
from introspection.rereading import analysis as published
from introspection.settings import Settings
from introspection.tables import csv_text


@stage
def main(settings: Settings) -> None:
    """Write results/published/*.csv."""
    tables = published.read_published(Path("data/published"))
    write("shifts", published.shifts(tables.detection))
    write("grid", published.grid_test(tables.detection))
    write("spacings", published.spacings(tables.detection))
    write("significands", published.significands(tables.detection))
    write("differences", published.differences(tables.detection))
    write("controls", published.control_shifts(tables.controls))
    write("comparisons", published.comparisons(tables))
    write("reversals", published.reversals(tables.detection))
    write("prompt_effects", published.prompt_effects(tables.detection))
    write("disagreements", published.disagreements(tables.detection))
    write("summary", published.summary(tables))


def write(name: str, table: pd.DataFrame) -> None:
    """Write one table, whole or not at all; empty cells say that a probability of 1 leaves its log-odds open."""
    write_text(RESULTS / "published" / f"{name}.csv", csv_text(table))


if __name__ == "__main__":
    main()
