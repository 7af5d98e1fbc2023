"""Train the control vectors of a model: its concepts, its persona if it has a finetune, and random directions."""

from __future__ import annotations

import shutil

from common import CONTRAST_PROMPTS, RESULTS, SUFFIXES, model_stage, read_stimuli

from introspection.injection.finetune import persona_vector
from introspection.injection.vectors import concept_vectors, random_vectors, save_vector
from introspection.model.loading import resident
from introspection.settings import ModelSettings, Settings
from introspection.sources.datasets import read_contrast_prompts, read_suffixes


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/vectors/*.gguf."""
    folder = RESULTS / model / "vectors"
    unfinished = folder.with_name("vectors.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    suffixes = read_suffixes(SUFFIXES)
    batch = settings.engine.tokens_per_batch
    with resident(model_settings) as loaded:
        concepts = concept_vectors(
            loaded, read_stimuli(), settings.study.concepts, suffixes, tokens_per_batch=batch, progress=True
        )
        for name, vector in concepts:
            save_vector(vector, unfinished / f"{name}.gguf")
        for name, vector in random_vectors(loaded, settings.study.random_directions, settings.study.seed):
            save_vector(vector, unfinished / f"{name}.gguf")
    if model_settings.contrast:
        persona = persona_vector(model_settings, read_contrast_prompts(CONTRAST_PROMPTS), batch)
        save_vector(persona, unfinished / "persona.gguf")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


if __name__ == "__main__":
    main()
