"""Make result files of other result files: sums, a choice, a check. No model is loaded."""

from __future__ import annotations

import click
from common import model_of, stage

from introspection.experiments import experiments_with, load
from introspection.files import RESULTS
from introspection.settings import Settings
from introspection.tables import write_outputs


@stage
@click.argument("experiment", type=click.Choice(experiments_with("summary")))
@click.argument("model")
def main(settings: Settings, experiment: str, model: str) -> None:
    """Write what EXPERIMENT sums up of the files in results/MODEL."""
    model_of(settings, model)
    write_outputs(load(experiment, "summary").summarise(settings, model, RESULTS / model), RESULTS / model)


if __name__ == "__main__":
    main()
