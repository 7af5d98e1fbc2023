"""Train the control vectors of a model: its concepts, its persona if it has a finetune, and random directions."""

from __future__ import annotations

import click
from common import CONTRAST_PROMPTS, pinned, reading, stage

from introspection import names
from introspection.files import PROMPTS, RESULTS, SUFFIXES, whole
from introspection.injection.finetune import persona_vector
from introspection.injection.vectors import concept_vectors, random_vectors, save_vector
from introspection.model.loading import resident
from introspection.settings import Settings
from introspection.sources.datasets import read_contrast_prompts, read_suffixes
from introspection.stimuli.prompts import Stimuli


@stage
@click.argument("model")
def main(settings: Settings, model: str) -> None:
    """Write results/MODEL/vectors/*.gguf."""
    model_settings, study, batch = pinned(settings, model), settings.study, settings.engine.tokens_per_batch
    suffixes, stimuli = read_suffixes(SUFFIXES), Stimuli(PROMPTS)
    contrast_prompts = read_contrast_prompts(CONTRAST_PROMPTS) if model_settings.contrast else []
    with reading(settings, "vectors", model), whole(RESULTS / model / "vectors") as folder:
        with resident(model_settings) as loaded:
            concepts = concept_vectors(
                loaded, stimuli, study.concepts, suffixes, sign=study.sign, tokens_per_batch=batch, progress=True
            )
            for name, vector in concepts:
                save_vector(vector, folder / names.file_name(name))
            for name, vector in random_vectors(loaded, study.random_directions, study.seed):
                save_vector(vector, folder / names.file_name(name))
        if model_settings.contrast:
            persona = persona_vector(model_settings, contrast_prompts, batch, study.sign)
            save_vector(persona, folder / names.file_name(names.PERSONA))


if __name__ == "__main__":
    main()
