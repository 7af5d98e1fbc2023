"""The control questions summed up: mean and standard deviation of the shift, and the questions left out."""

from __future__ import annotations

import pandas as pd
from common import RESULTS, model_stage, write_csv, write_json

from introspection.experiments.controls.statistics import control_statistics
from introspection.settings import ModelSettings, Settings


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/control_statistics.csv and results/MODEL/controls_excluded.json."""
    folder = RESULTS / model
    above = settings.controls.exclude_above
    found = control_statistics(pd.read_csv(folder / "controls.csv", keep_default_na=False), above)
    deviations = [column for column in map(str, found.table) if "_std" in column]  # empty for a group of one question
    write_csv(found.table, folder / "control_statistics.csv", may_be_empty=deviations)
    write_json({"excluded": found.excluded, "exclude_above": above}, folder / "controls_excluded.json")


if __name__ == "__main__":
    main()
