"""Detection, control questions and replies again, injected in the range that the sweep chose (the study's [18, 33])."""

from __future__ import annotations

import json

from common import RESULTS, model_stage, write_csv
from injected import read_injected

from introspection.experiments.detection.measure import ask_controls, detect
from introspection.experiments.samples.measure import generate_replies, samples_table, study_interventions
from introspection.model.loading import load_model
from introspection.settings import ModelSettings, Settings


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/chosen_range/{detection,controls,samples}.csv, without the finetune, which has no range."""
    chosen = json.loads((RESULTS / model / "range.json").read_text(encoding="utf-8"))
    layers = (int(chosen["first_layer"]), int(chosen["last_layer"]))
    study = read_injected(settings, model, model_settings, layers)
    loaded, batch = load_model(model_settings), settings.engine.tokens_per_batch
    folder = RESULTS / model / "chosen_range"
    detection = detect(
        loaded,
        study.stimuli,
        study.stimuli.detection,
        study.injections,
        study.directions,
        tokens_per_batch=batch,
        progress="detection",
    )
    write_csv(detection, folder / "detection.csv")
    controls = ask_controls(
        loaded, study.stimuli, study.injections, study.directions, tokens_per_batch=batch, progress="controls"
    )
    write_csv(controls, folder / "controls.csv")
    interventions = study_interventions(model_settings, settings.study.concepts, layers)
    replies = generate_replies(
        loaded,
        study.stimuli.top_of_mind,
        interventions,
        study.directions,
        **settings.samples.model_dump(),
        seed=settings.study.seed,
    )
    write_csv(samples_table(interventions, replies), folder / "samples.csv")


if __name__ == "__main__":
    main()
