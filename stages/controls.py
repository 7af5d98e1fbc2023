"""Experiment 3, and its part in experiment 7: does the injection push questions that have nothing to do with it?"""

from __future__ import annotations

from common import RESULTS, model_stage, read_directions, read_stimuli, vector_names, write_csv

from introspection.config import ModelSettings, Settings
from introspection.detection import ask_controls, study_injections
from introspection.finetune import load_prefills
from introspection.models import load_model


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/controls.csv."""
    stimuli, names = read_stimuli(), vector_names(settings, model_settings)
    directions = read_directions(model, names)
    prefills = load_prefills(RESULTS / model / "finetune_turn_1.safetensors")
    table = ask_controls(
        load_model(model_settings),
        stimuli,
        study_injections(model_settings, names),
        directions,
        prefills.get(stimuli.control_prompt),
        tokens_per_batch=settings.engine.tokens_per_batch,
        progress="controls",
    )
    write_csv(table, RESULTS / model / "controls.csv")


if __name__ == "__main__":
    main()
