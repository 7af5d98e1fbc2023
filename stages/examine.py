"""Examine one organism as a model is examined, and judge it by the same rules."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click
from common import organism_folder, reading, stage

from introspection.experiments.zoo.organism import examine_organism
from introspection.files import PROMPTS, RESULTS, SUFFIXES, remove
from introspection.settings import Settings
from introspection.settings.organisms import Family
from introspection.sources.datasets import read_suffixes
from introspection.tables import write_outputs


@stage
@click.argument("family", type=click.Choice(get_args(Family)))
@click.argument("name")
def main(settings: Settings, family: Family, name: str) -> None:
    """Write results/FAMILY/NAME, NAME being RULE-SEED in a zoo: the verdict, and what it rests on."""
    source, work = organism_folder(settings, family, name), Path("build") / family / name
    remove(work)
    with reading(settings, "examine", f"{family}-{name}", source):
        outputs = examine_organism(settings, family, f"{family}-{name}", source, PROMPTS, read_suffixes(SUFFIXES), work)
        write_outputs(outputs, RESULTS / family / name)


if __name__ == "__main__":
    main()
