"""Train the organisms' tokenizer and base model, into models/organism-base."""

from pathlib import Path

from common import stage, tell_of_committed

from introspection.organism.corpus import load_corpus
from introspection.organism.training import train_base
from introspection.settings import Settings


@stage
def main(settings: Settings) -> None:
    """Train the base model that all organisms are finetuned from; a run that was cut off goes on where it was."""
    corpus, output = load_corpus(Path("data/organism")), Path("models/organism-base")
    tell_of_committed(output)
    train_base(settings.organisms, corpus, output, Path("build/training"))


if __name__ == "__main__":
    main()
