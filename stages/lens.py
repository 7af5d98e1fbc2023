"""Experiment 5: at which layers does yes form, with the injection and without?"""

from __future__ import annotations

from dataclasses import asdict

from common import RESULTS, model_stage, read_directions, read_stimuli, vector_names, write_csv, write_json

from introspection.config import ModelSettings, Settings
from introspection.detection import study_injections
from introspection.finetune import load_prefills
from introspection.lens import yes_lens, yes_variants
from introspection.models import load_model


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/lens.csv and results/MODEL/lens_variants.json."""
    stimuli, names = read_stimuli(), vector_names(settings, model_settings)
    directions = read_directions(model, names)
    prefills = load_prefills(RESULTS / model / "finetune_turn_1.safetensors")
    loaded = load_model(model_settings)
    table = yes_lens(
        loaded,
        stimuli,
        study_injections(model_settings, names),
        directions,
        prefills,
        weak_fraction=settings.lens.weak_fraction,
        tokens_per_batch=settings.engine.tokens_per_batch,
        progress="lens",
    )
    write_csv(table, RESULTS / model / "lens.csv")
    write_json(asdict(yes_variants(loaded, stimuli)), RESULTS / model / "lens_variants.json")


if __name__ == "__main__":
    main()
