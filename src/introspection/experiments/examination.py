"""Everything that the verdict asks of a model, in one process, with fewer of what is drawn than the study has."""

from __future__ import annotations

from dataclasses import replace

from introspection import names
from introspection.experiments.battery import measure as battery
from introspection.experiments.battery import summary as battery_summary
from introspection.experiments.competence import summary as competence
from introspection.experiments.content import measure as content
from introspection.experiments.controls import measure as controls
from introspection.experiments.detection import measure as detection
from introspection.experiments.population import measure as population
from introspection.experiments.population import summary as population_summary
from introspection.experiments.population.concepts import load_population, spread
from introspection.experiments.population.vectors import VECTORS, save_directions, trained_directions
from introspection.experiments.subject import Subject
from introspection.experiments.verdict import summary as verdict
from introspection.experiments.written import measure as written
from introspection.files import PREFILLS
from introspection.injection.prefills import save_prefills
from introspection.injection.vectors import concept_vectors, random_vectors, save_vector
from introspection.settings import ExaminationSettings
from introspection.tables import Outputs, write_outputs

ASKED = (detection, controls, content, written, battery, population)
SUMMED = (competence, battery_summary, population_summary, verdict)


def examine(subject: Subject, fewer: ExaminationSettings) -> Outputs:
    """All results up to the verdict, by file name; they are also written to the subject's folder, one after another.

    subject: with its weights, its doses and its filler in its folder, and no finetune.
    """
    subject = replace(
        subject,
        settings=subject.settings.model_copy(update={"population": fewer.population, "battery": fewer.battery}),
        given_suffixes=spread(subject.suffixes, fewer.suffixes),
    )
    _make_vectors(subject)
    outputs: dict[str, object] = {}
    for experiment in ASKED:
        found = experiment.measure(subject)
        write_outputs(found, subject.folder)
        outputs |= found
    for summary in SUMMED:
        found = summary.summarise(subject.settings, subject.key, subject.folder)
        write_outputs(found, subject.folder)
        outputs |= found
    return outputs


def _make_vectors(subject: Subject) -> None:
    model, study, drawn = subject.model, subject.settings.study, subject.settings.population
    save_prefills({}, PREFILLS / f"{subject.key}.safetensors")
    trained = concept_vectors(model, subject.stimuli, study.concepts, subject.suffixes, sign=study.sign)
    for name, vector in (*trained, *random_vectors(model, study.random_directions, study.seed)):
        save_vector(vector, subject.folder / "vectors" / names.file_name(name))
    directions = trained_directions(
        model,
        subject.stimuli,
        load_population().few(drawn.concepts),
        spread(subject.suffixes, drawn.suffixes),
        drawn.directions,
        drawn.seed,
    )
    save_directions(dict(directions), VECTORS / f"{subject.key}.safetensors")
