"""Check the instrument on a model organism: was what is planted in it measured? Read from result files alone."""

from __future__ import annotations

import pandas as pd
from common import RESULTS, model_stage, read_corpus, read_stimuli, write_json

from introspection.experiments.instrument.check import (
    check_controls,
    check_detection,
    check_naming,
    check_samples,
    held_out,
)
from introspection.settings import ModelSettings, Settings


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/instrument.json, which says of a model that is no organism that nothing is planted in it."""
    metrics: dict[str, object] = {"organism": model in settings.organisms.trained}
    concepts = held_out(settings.organisms, settings.study.concepts)
    if metrics["organism"] and concepts:
        corpus = read_corpus()
        results = {
            name: pd.read_csv(RESULTS / model / f"{name}.csv", keep_default_na=False, na_values=[""])
            for name in ("detection", "controls", "samples", "content")
        }
        expected = {question.question: question.expected for question in read_stimuli().controls}
        metrics |= {
            "detection": check_detection(results["detection"], settings.organisms.trained[model], concepts),
            "controls": check_controls(results["controls"], concepts, expected),
            "top_of_mind": check_samples(results["samples"], concepts, corpus),
            "naming": check_naming(results["content"], concepts),
        }
    write_json(metrics, RESULTS / model / "instrument.json")


if __name__ == "__main__":
    main()
