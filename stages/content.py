"""Experiment 6: does the model name what was injected?"""

from __future__ import annotations

from common import RESULTS, model_stage, write_csv, write_json
from injected import read_injected, read_prefills

from introspection.experiments.content.measure import concept_tokens, report_content
from introspection.model.loading import load_model
from introspection.settings import ModelSettings, Settings


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/content.csv, boosted.csv and content_tokens.json."""
    study = read_injected(settings, model, model_settings)
    loaded = load_model(model_settings)
    tokens = concept_tokens(loaded, settings.study.concepts)
    report = report_content(
        loaded,
        study.stimuli,
        tokens,
        study.injections,
        study.directions,
        read_prefills(model),
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
