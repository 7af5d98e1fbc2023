"""The numbers of a model's injections, in files of their own: what the experiments depend on."""

from __future__ import annotations

from dataclasses import asdict

import click
from common import model_of, stage, write_results

from introspection.files import RESULTS
from introspection.injection.dose import QUESTIONS, REPLIES, SWEEP, doses
from introspection.settings import Settings


@stage
@click.argument("model")
def main(settings: Settings, model: str) -> None:
    """Write results/MODEL/injection/questions.json, replies.json and sweep.json."""
    found = doses(model_of(settings, model), settings.sweep)
    files = {QUESTIONS: asdict(found.questions), REPLIES: asdict(found.replies), SWEEP: asdict(found.sweep)}
    write_results(files, RESULTS / model)


if __name__ == "__main__":
    main()
