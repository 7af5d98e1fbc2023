"""Run an experiment on a model and write its result files."""

from __future__ import annotations

import click
from common import pinned, reading, stage

from introspection.experiments import experiments_with, load
from introspection.experiments.subject import open_subject
from introspection.files import PROMPTS, RESULTS
from introspection.injection.filler import FilledStimuli
from introspection.settings import Settings
from introspection.tables import write_outputs


@stage
@click.argument("experiment", type=click.Choice(experiments_with("measure")))
@click.argument("model")
def main(settings: Settings, experiment: str, model: str) -> None:
    """Write the result files of EXPERIMENT to results/MODEL."""
    stimuli = FilledStimuli.of_model(PROMPTS, RESULTS / model)
    subject = open_subject(settings, model, pinned(settings, model), stimuli, RESULTS / model)
    module = load(experiment, "measure")
    module.trials(subject)  # what cannot be asked of this model shows before its weights are read
    with reading(settings, experiment, model):
        write_outputs(module.measure(subject.loaded()), RESULTS / model)


if __name__ == "__main__":
    main()
