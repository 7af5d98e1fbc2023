"""What an organism knows beyond yes and no: where, which, better than a reader, under which frame, at which dose."""

from __future__ import annotations

from dataclasses import replace

from introspection.experiments.dose.norms import residual_norms
from introspection.experiments.dose.tables import NORMS
from introspection.experiments.framing import measure as framing
from introspection.experiments.one_process import run_experiments, write_vectors
from introspection.experiments.places import measure as places
from introspection.experiments.population.concepts import load_population, spread
from introspection.experiments.population.vectors import VECTORS, save_directions
from introspection.experiments.reader import measure as reader
from introspection.experiments.reader import summary as reader_summary
from introspection.experiments.subject import Subject
from introspection.experiments.where import measure as where
from introspection.experiments.where import summary as where_summary
from introspection.experiments.which import measure as which
from introspection.experiments.which import summary as which_summary
from introspection.experiments.zoo.tables import BEYOND
from introspection.injection.vectors import concept_vectors
from introspection.tables import Outputs, write_outputs

ASKED = (where, which, reader, framing, places)
SUMMED = (where_summary, which_summary, reader_summary)


def ask_beyond(subject: Subject) -> Outputs:
    """With as much as a model of the study is asked, but at the common doses, by file name (`BEYOND`).

    subject: with its weights, its doses and its filler in its folder, and no finetune.
    """
    write_vectors(subject)
    suffixes = spread(subject.suffixes, subject.settings.population.suffixes)
    trained = concept_vectors(subject.model, subject.stimuli, load_population().concepts, suffixes)
    save_directions({name: vector.directions for name, vector in trained}, VECTORS / f"{subject.key}.safetensors")
    norms = residual_norms(subject.model, subject.stimuli.neutral(), subject.tokens_per_batch)
    write_outputs({NORMS.name: NORMS.of(norms)}, subject.folder)
    rule = subject.settings.places
    common = rule.model_copy(update={"fractions": rule.common, "parts_of_strength": ()})
    fewer = subject.settings.model_copy(update={"places": common})
    outputs = run_experiments(replace(subject, settings=fewer), ASKED, SUMMED)
    return {name: outputs[name] for name in BEYOND}
