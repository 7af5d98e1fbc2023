"""Experiments 1, 2 and 4, and detection in 7: is the injection noticed, under each prompt?"""

from __future__ import annotations

from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.subject import Run, Subject
from introspection.injection.answers import ask
from introspection.injection.cells import cells_of
from introspection.tables import Outputs


def trials(subject: Subject) -> list[Run]:
    """Every prompt with nothing injected, and under every injection."""
    prompts = subject.stimuli.detection
    cells = cells_of(list(prompts), subject.questions.injections(subject.detected))
    return [subject.run(prompts, cells)]


def measure(subject: Subject) -> Outputs:
    """The answers to the study's question, those after the finetune's turn 1 included."""
    table = ask(
        subject.model,
        subject.stimuli,
        subject.stimuli.detection,
        subject.questions.injections(subject.detected),
        subject.directions(subject.detected),
        subject.prefills,
        tokens_per_batch=subject.tokens_per_batch,
        progress="detection",
    )
    return {DETECTION.name: DETECTION.of(table)}
