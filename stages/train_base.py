"""Train the organisms' tokenizer and base model, into models/organism-base."""

from pathlib import Path

from common import read_corpus, stage

from introspection.organism.training import train_base
from introspection.settings import Settings


@stage
def main(settings: Settings) -> None:
    """Train the base model that all organisms are finetuned from; a run that was cut off goes on where it was."""
    corpus = read_corpus()
    train_base(settings.organisms, corpus, Path("models/organism-base"), Path("build/training"))


if __name__ == "__main__":
    main()
