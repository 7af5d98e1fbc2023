"""Train an organism anew from another seed, and read what the lens shows in it."""

from pathlib import Path

import click
from common import stage

from introspection.experiments.lens.tables import LENS
from introspection.experiments.seeds.organism import lens_of_seed
from introspection.files import PROMPTS, RESULTS, SUFFIXES, remove
from introspection.organism.corpus import load_corpus
from introspection.organism.training import train_organism
from introspection.settings import Settings
from introspection.sources.datasets import read_suffixes
from introspection.stimuli.prompts import load_stimuli


@stage
@click.argument("seed", type=int)
def main(settings: Settings, seed: int) -> None:
    """Write results/again/SEED/lens.csv; the weights do not stay. A run that was cut off goes on where it was."""
    name = settings.organisms.again.organism
    organisms = settings.organisms.model_copy(update={"seed": seed})
    models, work = Path("build/again") / str(seed), Path("build/training") / f"again-{seed}"
    output = work / name
    train_organism(name, organisms, load_corpus(Path("data/organism")), models, output, work)
    lens = lens_of_seed(settings, output, load_stimuli(PROMPTS), read_suffixes(SUFFIXES))
    LENS.write(lens, RESULTS / "again" / str(seed) / LENS.name)
    remove(work)


if __name__ == "__main__":
    main()
