"""Choose a layer range from the sweep, by the rule of params.yaml."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd
from common import RESULTS, model_stage, write_json

from introspection.experiments.sweep.measure import choose_range
from introspection.settings import ModelSettings, Settings


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/range.json."""
    rule = settings.sweep
    sweep = pd.read_csv(RESULTS / model / "sweep.csv", keep_default_na=False)
    chosen = choose_range(sweep, rule.choose_concept, rule.choose_prompt, rule.earliest_start, rule.mode)
    write_json(asdict(chosen), RESULTS / model / "range.json")


if __name__ == "__main__":
    main()
