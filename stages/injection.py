"""The numbers of a model's injections, in files of their own: what the experiments depend on."""

from __future__ import annotations

from dataclasses import asdict

import click
from common import model_of, stage

from introspection.experiments.dose.rule import calibration
from introspection.files import RESULTS
from introspection.injection.dose import CALIBRATION, QUESTIONS, REPLIES, SWEEP, doses
from introspection.settings import Settings
from introspection.tables import write_outputs


@stage
@click.argument("model")
def main(settings: Settings, model: str) -> None:
    """Write results/MODEL/injection/questions.json, replies.json and sweep.json, and what rules were resolved with."""
    model_settings, measured = model_of(settings, model), calibration(settings, model, RESULTS / model)
    found = doses(model_settings, settings.sweep, measured)
    files = {QUESTIONS: asdict(found.questions), REPLIES: asdict(found.replies), SWEEP: asdict(found.sweep)}
    write_outputs(files | {CALIBRATION: asdict(measured)}, RESULTS / model)


if __name__ == "__main__":
    main()
