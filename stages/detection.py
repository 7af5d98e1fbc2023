"""Experiments 1, 2 and 4, and detection in experiment 7: is the injection noticed, under each of the four prompts?"""

from __future__ import annotations

from common import RESULTS, model_stage, read_directions, read_stimuli, vector_names, write_csv

from introspection.config import ModelSettings, Settings
from introspection.detection import detect, study_injections
from introspection.finetune import load_prefills
from introspection.models import load_model


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/detection.csv."""
    stimuli, names = read_stimuli(), vector_names(settings, model_settings)
    directions = read_directions(model, names)
    prefills = load_prefills(RESULTS / model / "finetune_turn_1.safetensors")
    table = detect(
        load_model(model_settings),
        stimuli,
        stimuli.detection,
        study_injections(model_settings, names),
        directions,
        prefills,
        tokens_per_batch=settings.engine.tokens_per_batch,
        progress="detection",
    )
    write_csv(table, RESULTS / model / "detection.csv")


if __name__ == "__main__":
    main()
