"""Experiment 5: at which layers does yes form, with the injection and without?"""

from __future__ import annotations

from dataclasses import asdict

from common import RESULTS, model_stage, write_csv, write_json
from injected import read_injected, read_prefills

from introspection.experiments.lens.measure import yes_lens, yes_variants
from introspection.model.loading import load_model
from introspection.settings import ModelSettings, Settings


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/lens.csv and results/MODEL/lens_variants.json."""
    study = read_injected(settings, model, model_settings)
    loaded = load_model(model_settings)
    table = yes_lens(
        loaded,
        study.stimuli,
        study.injections,
        study.directions,
        read_prefills(model),
        weak_fraction=settings.lens.weak_fraction,
        tokens_per_batch=settings.engine.tokens_per_batch,
        progress="lens",
    )
    write_csv(table, RESULTS / model / "lens.csv")
    write_json(asdict(yes_variants(loaded, study.stimuli)), RESULTS / model / "lens_variants.json")


if __name__ == "__main__":
    main()
