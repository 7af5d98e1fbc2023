"""Everything that the verdict asks of a model, in one process, with fewer of what is drawn than the study has."""

from __future__ import annotations

from dataclasses import replace

from introspection.experiments.battery import measure as battery
from introspection.experiments.battery import summary as battery_summary
from introspection.experiments.competence import summary as competence
from introspection.experiments.content import measure as content
from introspection.experiments.controls import measure as controls
from introspection.experiments.detection import measure as detection
from introspection.experiments.one_process import run_experiments, write_vectors
from introspection.experiments.population import measure as population
from introspection.experiments.population import summary as population_summary
from introspection.experiments.population.concepts import load_population, spread
from introspection.experiments.population.vectors import VECTORS, save_directions, trained_directions
from introspection.experiments.subject import Subject
from introspection.experiments.verdict import summary as verdict
from introspection.experiments.written import measure as written
from introspection.settings import ExaminationSettings
from introspection.tables import Outputs

ASKED = (detection, controls, content, written, battery, population)
SUMMED = (competence, battery_summary, population_summary, verdict)


def examine(subject: Subject, fewer: ExaminationSettings) -> Outputs:
    """All results up to the verdict, by file name; they are also written to the subject's folder, one after another.

    subject: with its weights, its doses and its filler in its folder, and no finetune.
    """
    settings = subject.settings
    directions = min(fewer.random_directions, settings.study.random_directions)
    study = settings.study.model_copy(update={"random_directions": directions})
    drawn = fewer.population
    subject = replace(
        subject,
        settings=settings.model_copy(update={"study": study, "population": drawn, "battery": fewer.battery}),
        given_suffixes=spread(subject.suffixes, fewer.suffixes),
    )
    write_vectors(subject)
    trained = trained_directions(
        subject.model,
        subject.stimuli,
        load_population().few(drawn.concepts),
        spread(subject.suffixes, drawn.suffixes),
        drawn.directions,
        drawn.seed,
    )
    save_directions(dict(trained), VECTORS / f"{subject.key}.safetensors")
    return run_experiments(subject, ASKED, SUMMED)
