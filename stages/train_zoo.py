"""Train one organism of a zoo under the rule that params.yaml plants in it, into models/ZOO/RULE-SEED."""

from pathlib import Path
from typing import get_args

import click
from common import PARAMS, stage, tell_of_committed

from introspection.files import STATES
from introspection.organism.corpus import load_corpus
from introspection.organism.training import OnTheWay, train_member
from introspection.settings import Settings, SettingsError
from introspection.settings.organisms import Zoo


@stage
@click.argument("zoo", type=click.Choice(get_args(Zoo)))
@click.argument("rule")
@click.argument("seed", type=int)
def main(settings: Settings, zoo: Zoo, rule: str, seed: int) -> None:
    """Train the organism of ZOO that RULE, a key of its rules, is planted in; a run that was cut off goes on."""
    kept = settings.organisms.zoos[zoo]
    if rule not in kept.rules:
        raise SettingsError(f"{PARAMS}: organisms.{zoo}.rules has no key {rule!r}; it has {', '.join(kept.rules)}")
    models = Path("models")
    base = (models if zoo == "zoo" else Path("data/raw")) / kept.recipe.base
    name, work, corpus = f"{rule}-{seed}", Path("build/training"), load_corpus(Path("data/organism"))
    on_the_way = OnTheWay(settings.curve.every, STATES / name) if zoo == "grown" else None
    tell_of_committed(models / zoo / name)
    train_member(zoo, rule, seed, settings.organisms, corpus, base, models / zoo / name, work, on_the_way)


if __name__ == "__main__":
    main()
