"""Train the organisms' tokenizer and base model from another seed, into build/again."""

from pathlib import Path

import click
from common import stage

from introspection.organism.corpus import load_corpus
from introspection.organism.training import train_base
from introspection.settings import Settings


@stage
@click.argument("seed", type=int)
def main(settings: Settings, seed: int) -> None:
    """Train a base from SEED; a run that was cut off goes on where it was."""
    organisms = settings.organisms.model_copy(update={"seed": seed})
    output = Path("build/again") / str(seed) / "organism-base"
    train_base(organisms, load_corpus(Path("data/organism")), output, Path("build/training") / f"again-{seed}")


if __name__ == "__main__":
    main()
