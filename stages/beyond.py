"""Ask an organism what a report takes beyond a yes, as the study's models are asked."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click
from common import organism_folder, reading, stage

from introspection.experiments.zoo.beyond import ask_beyond
from introspection.experiments.zoo.opened import open_organism
from introspection.files import PROMPTS, RESULTS, SUFFIXES, remove
from introspection.settings import Settings
from introspection.settings.organisms import Family
from introspection.sources.datasets import read_suffixes
from introspection.tables import write_outputs


@stage
@click.argument("family", type=click.Choice(get_args(Family)))
@click.argument("name")
def main(settings: Settings, family: Family, name: str) -> None:
    """Write results/beyond/NAME, NAME being RULE-SEED in a zoo."""
    source, work = organism_folder(settings, family, name), Path("build/beyond") / name
    remove(work)
    with reading(settings, "beyond", name, source):
        suffixes = read_suffixes(SUFFIXES)
        subject = open_organism(settings, family, f"beyond-{name}", source, PROMPTS, suffixes, work)
        write_outputs(ask_beyond(subject), RESULTS / "beyond" / name)


if __name__ == "__main__":
    main()
