"""Ask an organism on a real model what a report takes beyond a yes, as the study's models are asked."""

from __future__ import annotations

from pathlib import Path

import click
from common import reading, stage

from introspection.experiments.zoo.beyond import ask_beyond
from introspection.experiments.zoo.opened import open_organism
from introspection.files import PROMPTS, RESULTS, SUFFIXES, remove
from introspection.settings import Settings
from introspection.sources.datasets import read_suffixes
from introspection.tables import write_outputs


@stage
@click.argument("rule")
@click.argument("seed", type=int)
def main(settings: Settings, rule: str, seed: int) -> None:
    """Write results/beyond/RULE-SEED."""
    name = f"{rule}-{seed}"
    source, work = Path("models/grown") / name, Path("build/beyond") / name
    remove(work)
    with reading(settings, "beyond", name, source):
        suffixes = read_suffixes(SUFFIXES)
        subject = open_organism(settings, "grown", f"beyond-{name}", source, PROMPTS, suffixes, work)
        write_outputs(ask_beyond(subject), RESULTS / "beyond" / name)


if __name__ == "__main__":
    main()
