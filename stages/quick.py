"""Examine a model of the study in minutes: the verdict with fewer of what is drawn, and so with wider intervals."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import click
from common import pinned, stage
from rich.console import Console
from rich.markdown import Markdown

from introspection.experiments.examination import examine
from introspection.experiments.subject import open_subject
from introspection.experiments.verdict.page import critics_page
from introspection.files import PROMPTS, RESULTS, read_json, remove, write_json, write_text
from introspection.injection.dose import QUESTIONS, Dose
from introspection.injection.filler import FILLER, FilledStimuli
from introspection.settings import Settings
from introspection.terminal import printable

WORK = Path(".work/quick")


@stage
@click.argument("models", nargs=-1)
def main(settings: Settings, models: tuple[str, ...]) -> None:
    """Examine MODELS, or each of study.models."""
    for model in models or settings.study.models:
        _examine(settings, model)


def _examine(settings: Settings, model: str) -> None:
    """Write .work/quick/MODEL, critic.md and what it rests on, from the doses and the filler in results/MODEL."""
    given, folder = RESULTS / model, WORK / model
    dose = read_json(given / QUESTIONS, Dose, f"make it with `dvc repro injection@{model}`")
    remove(folder)
    folder.mkdir(parents=True)
    shutil.copy(given / FILLER, folder / FILLER)
    write_json(folder / QUESTIONS, asdict(replace(dose, persona_strength=None)))
    stimuli = FilledStimuli.of_model(PROMPTS, folder)
    subject = open_subject(settings, f"quick-{model}", pinned(settings, model), stimuli, folder)
    outputs = examine(subject.loaded(), settings.quick)
    page = critics_page(model, outputs, settings.quick)
    write_text(folder / "critic.md", page)
    Console().print(Markdown(printable(page)))


if __name__ == "__main__":
    main()
