"""Experiments 1, 2 and 4, and detection in experiment 7: is the injection noticed, under each of the four prompts?"""

from __future__ import annotations

from common import RESULTS, model_stage, write_csv
from injected import read_injected, read_prefills

from introspection.experiments.detection.measure import detect
from introspection.model.loading import load_model
from introspection.settings import ModelSettings, Settings


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/detection.csv."""
    study = read_injected(settings, model, model_settings)
    table = detect(
        load_model(model_settings),
        study.stimuli,
        study.stimuli.detection,
        study.injections,
        study.directions,
        read_prefills(model),
        tokens_per_batch=settings.engine.tokens_per_batch,
        progress="detection",
    )
    write_csv(table, RESULTS / model / "detection.csv")


if __name__ == "__main__":
    main()
