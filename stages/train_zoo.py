"""Train one organism of the zoo under the rule that params.yaml plants in it, into models/zoo/RULE-SEED."""

from pathlib import Path

import click
from common import PARAMS, stage

from introspection.organism.corpus import load_corpus
from introspection.organism.training import train_member
from introspection.settings import Settings, SettingsError


@stage
@click.argument("rule")
@click.argument("seed", type=int)
def main(settings: Settings, rule: str, seed: int) -> None:
    """Train the organism that RULE, a key of organisms.zoo.rules, is planted in; a run that was cut off goes on."""
    rules = settings.organisms.zoo.rules
    if rule not in rules:
        raise SettingsError(f"{PARAMS}: organisms.zoo.rules has no key {rule!r}; it has {', '.join(rules)}")
    models = Path("models")
    output = models / "zoo" / f"{rule}-{seed}"
    train_member(
        rule, seed, settings.organisms, load_corpus(Path("data/organism")), models, output, Path("build/training")
    )


if __name__ == "__main__":
    main()
