"""Train an organism anew from another seed, its base with it, into models/again."""

from pathlib import Path

import click
from common import stage, tell_of_committed

from introspection.organism.corpus import load_corpus
from introspection.organism.training import train_anew
from introspection.settings import Settings


@stage
@click.argument("seed", type=int)
def main(settings: Settings, seed: int) -> None:
    """Train a base from SEED and finetune it as organisms.again.organism; a run that was cut off goes on."""
    name = settings.organisms.again.organism
    organisms = settings.organisms.model_copy(update={"seed": seed})
    output = Path("models/again") / f"{name}-{seed}"
    tell_of_committed(output)
    train_anew(name, organisms, load_corpus(Path("data/organism")), output, Path("build/training") / f"again-{seed}")


if __name__ == "__main__":
    main()
