"""Read what the lens shows in an organism that was trained anew from another seed."""

from pathlib import Path

import click
from common import stage

from introspection.experiments.lens.tables import LENS
from introspection.experiments.seeds.organism import lens_of_seed
from introspection.files import PROMPTS, RESULTS, SUFFIXES
from introspection.settings import Settings
from introspection.sources.datasets import read_suffixes
from introspection.stimuli.prompts import Stimuli


@stage
@click.argument("seed", type=int)
def main(settings: Settings, seed: int) -> None:
    """Write results/again/SEED/lens.csv."""
    source = Path("models/again") / f"{settings.organisms.again.organism}-{seed}"
    lens = lens_of_seed(settings, source, Stimuli(PROMPTS), read_suffixes(SUFFIXES))
    LENS.write(lens, RESULTS / "again" / str(seed) / LENS.name)


if __name__ == "__main__":
    main()
