"""Examine one organism of a zoo as a model is examined, and judge it by the same rules."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click
from common import reading, stage

from introspection.experiments.zoo.organism import examine_organism
from introspection.files import PROMPTS, RESULTS, SUFFIXES, remove
from introspection.settings import Settings
from introspection.settings.organisms import Zoo
from introspection.sources.datasets import read_suffixes
from introspection.tables import write_outputs


@stage
@click.argument("zoo", type=click.Choice(get_args(Zoo)))
@click.argument("rule")
@click.argument("seed", type=int)
def main(settings: Settings, zoo: Zoo, rule: str, seed: int) -> None:
    """Write results/ZOO/RULE-SEED: the verdict, and what it rests on."""
    name = f"{rule}-{seed}"
    source, work = Path("models") / zoo / name, Path("build") / zoo / name
    remove(work)
    with reading(settings, "examine", f"{zoo}-{name}", source):
        outputs = examine_organism(settings, zoo, f"{zoo}-{name}", source, PROMPTS, read_suffixes(SUFFIXES), work)
        write_outputs(outputs, RESULTS / zoo / name)


if __name__ == "__main__":
    main()
