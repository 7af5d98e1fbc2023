"""Detection, control questions and replies again, in the range that the sweep chose (the study's [18, 33])."""

from __future__ import annotations

from introspection.experiments.controls.measure import ask_controls, control_conversations
from introspection.experiments.controls.tables import CONTROLS
from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.samples.measure import sampled, samples_table
from introspection.experiments.samples.measure import trials as replies
from introspection.experiments.samples.tables import SAMPLES
from introspection.experiments.subject import Run, Subject
from introspection.injection.answers import ask
from introspection.injection.cells import cells_of
from introspection.tables import Outputs


def trials(subject: Subject) -> list[Run]:
    """Every prompt and every control question with nothing injected and under every injection; and the replies."""
    injections = subject.questions.within(subject.chosen_layers).injections(subject.vectors)
    asked = (subject.stimuli.detection, control_conversations(subject.stimuli))
    return [
        *(subject.run(each, cells_of(list(each), injections)) for each in asked),
        *replies(subject),
    ]


def measure(subject: Subject) -> Outputs:
    """The same tables as at the model's own layers, without the finetune, which has no range."""
    model, stimuli = subject.model, subject.stimuli
    injections = subject.questions.within(subject.chosen_layers).injections(subject.vectors)
    directions, batch = subject.directions(subject.vectors), subject.tokens_per_batch
    detection = ask(
        model, stimuli, stimuli.detection, injections, directions, tokens_per_batch=batch, progress="detection"
    )
    controls = ask_controls(model, stimuli, injections, directions, tokens_per_batch=batch, progress="controls")
    samples = samples_table(*sampled(subject, subject.replies.within(subject.chosen_layers)))
    tables = (DETECTION.of(detection), CONTROLS.of(controls), SAMPLES.of(samples))
    return {f"chosen_range/{each.table.name}": each for each in tables}
