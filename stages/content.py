"""Experiment 6: does the model name what was injected?"""

from __future__ import annotations

from common import RESULTS, model_stage, read_directions, read_stimuli, vector_names, write_csv, write_json

from introspection.config import ModelSettings, Settings
from introspection.content import concept_tokens, report_content
from introspection.detection import study_injections
from introspection.finetune import load_prefills
from introspection.models import load_model


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/content.csv, boosted.csv and content_tokens.json."""
    stimuli, names = read_stimuli(), vector_names(settings, model_settings)
    directions = read_directions(model, names)
    prefills = load_prefills(RESULTS / model / "finetune_turn_1.safetensors")
    loaded = load_model(model_settings)
    tokens = concept_tokens(loaded, settings.study.concepts)
    report = report_content(
        loaded,
        stimuli,
        tokens,
        study_injections(model_settings, names),
        directions,
        prefills,
        boosted=settings.content.boosted_tokens,
        tokens_per_batch=settings.engine.tokens_per_batch,
        progress="content",
    )
    folder = RESULTS / model
    write_csv(report.concepts, folder / "content.csv")
    write_csv(report.boosted, folder / "boosted.csv")
    write_json({t.concept: {"token": t.text, "whole": t.whole} for t in tokens}, folder / "content_tokens.json")


if __name__ == "__main__":
    main()
