"""Read the study's own figures again, from data/published alone."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd

from introspection import published
from introspection.config import SettingsError, load_settings

RESULTS = Path("results/published")


@click.command()
def main() -> None:
    """Write results/published/*.csv."""
    # not the common frame of the stages, which loads PyTorch: this one needs none
    try:
        load_settings(Path("params.yaml"))
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
    except (SettingsError, ValueError) as error:
        raise click.ClickException(str(error)) from error


def write(name: str, table: pd.DataFrame) -> None:
    """Write one table, whole or not at all; empty cells say that a probability of 1 leaves its log-odds open."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    unfinished = RESULTS / f"{name}.csv.unfinished"
    table.to_csv(unfinished, index=False, float_format="%.9g", lineterminator="\n")
    unfinished.replace(RESULTS / f"{name}.csv")


if __name__ == "__main__":
    main()
