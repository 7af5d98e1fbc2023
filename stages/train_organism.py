"""Finetune one organism under the rule that params.yaml plants in it, into models/NAME."""

from pathlib import Path

import click
from common import PARAMS, stage, tell_of_committed

from introspection.organism.corpus import load_corpus
from introspection.organism.training import train_organism
from introspection.settings import Settings, SettingsError


@stage
@click.argument("name")
def main(settings: Settings, name: str) -> None:
    """Train the organism NAME, a key of organisms.trained in params.yaml; a run that was cut off goes on."""
    trained = settings.organisms.trained
    if name not in trained:
        raise SettingsError(f"{PARAMS}: organisms.trained has no key {name!r}; it has {', '.join(trained)}")
    models, corpus = Path("models"), load_corpus(Path("data/organism"))
    tell_of_committed(models / name)
    train_organism(name, settings.organisms, corpus, models, models / name, Path("build/training"))


if __name__ == "__main__":
    main()
