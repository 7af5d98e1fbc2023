"""Experiment 3, and its part in experiment 7: does the injection push questions that have nothing to do with it?"""

from __future__ import annotations

from common import RESULTS, model_stage, write_csv
from injected import read_injected, read_prefills

from introspection.experiments.detection.measure import ask_controls
from introspection.model.loading import load_model
from introspection.settings import ModelSettings, Settings


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/controls.csv."""
    study = read_injected(settings, model, model_settings)
    table = ask_controls(
        load_model(model_settings),
        study.stimuli,
        study.injections,
        study.directions,
        read_prefills(model).get(study.stimuli.control_prompt),
        tokens_per_batch=settings.engine.tokens_per_batch,
        progress="controls",
    )
    write_csv(table, RESULTS / model / "controls.csv")


if __name__ == "__main__":
    main()
