"""Train an organism anew from another seed, into models/again."""

from pathlib import Path

import click
from common import stage

from introspection.organism.corpus import load_corpus
from introspection.organism.training import train_organism
from introspection.settings import Settings


@stage
@click.argument("seed", type=int)
def main(settings: Settings, seed: int) -> None:
    """Finetune organisms.again.organism from SEED on the base of SEED; a run that was cut off goes on."""
    name = settings.organisms.again.organism
    organisms = settings.organisms.model_copy(update={"seed": seed})
    bases, output = Path("build/again") / str(seed), Path("models/again") / f"{name}-{seed}"
    work = Path("build/training") / f"again-{seed}"
    train_organism(name, organisms, load_corpus(Path("data/organism")), bases, output, work)


if __name__ == "__main__":
    main()
