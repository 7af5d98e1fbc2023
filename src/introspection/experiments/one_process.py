"""What the stages of the study do one after another, done in one process for a model that is no model of the study."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

from introspection import names
from introspection.experiments.subject import Subject
from introspection.files import PREFILLS
from introspection.injection.prefills import save_prefills
from introspection.injection.vectors import concept_vectors, random_vectors, save_vector
from introspection.tables import Outputs, write_outputs


def write_vectors(subject: Subject) -> None:
    """The vectors of the study's concepts and its random directions, to the subject's folder; there is no finetune."""
    study = subject.settings.study
    save_prefills({}, PREFILLS / f"{subject.key}.safetensors")
    trained = concept_vectors(subject.model, subject.stimuli, study.concepts, subject.suffixes, sign=study.sign)
    drawn = random_vectors(subject.model, study.random_directions, study.seed)
    for name, vector in (*trained, *drawn):
        save_vector(vector, subject.folder / "vectors" / names.file_name(name))


def run_experiments(subject: Subject, asked: Iterable[ModuleType], summed: Iterable[ModuleType]) -> Outputs:
    """All results by file name; they are also written to the subject's folder, one after another.

    asked: parts `measure` of experiments. summed: parts `summary`, which read what those have written.
    """
    outputs: dict[str, object] = {}
    for experiment in asked:
        found = experiment.measure(subject)
        write_outputs(found, subject.folder)
        outputs |= found
    for summary in summed:
        found = summary.summarise(subject.settings, subject.key, subject.folder)
        write_outputs(found, subject.folder)
        outputs |= found
    return outputs
