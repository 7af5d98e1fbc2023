"""Train the population's directions of a model: its concepts, and what is drawn from its states or made of them."""

from __future__ import annotations

import click
from common import pinned, reading, stage

from introspection.experiments.population.concepts import load_population, spread
from introspection.experiments.population.vectors import VECTORS, save_directions, trained_directions
from introspection.files import PROMPTS, SUFFIXES
from introspection.model.loading import resident
from introspection.settings import Settings
from introspection.sources.datasets import read_suffixes
from introspection.stimuli.prompts import Stimuli


@stage
@click.argument("model")
def main(settings: Settings, model: str) -> None:
    """Write build/population/MODEL.safetensors."""
    model_settings, chosen = pinned(settings, model), settings.population
    suffixes = spread(read_suffixes(SUFFIXES), chosen.suffixes)
    with reading(settings, "population_vectors", model), resident(model_settings) as loaded:
        trained = trained_directions(
            loaded,
            Stimuli(PROMPTS),
            load_population().few(chosen.concepts),
            suffixes,
            chosen.directions,
            chosen.seed,
            settings.engine.tokens_per_batch,
        )
        save_directions(dict(trained), VECTORS / f"{model}.safetensors")


if __name__ == "__main__":
    main()
