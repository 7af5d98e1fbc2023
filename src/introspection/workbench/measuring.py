"""Both arms of one injection: the question, control questions, lens and tokens, all in one run of the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from introspection.engine.trial import Injection
from introspection.experiments.content.measure import token_text
from introspection.experiments.dose.measure import asked
from introspection.experiments.dose.norms import residual_norms
from introspection.experiments.dose.rule import mean_norm
from introspection.experiments.dose.tables import NORMS
from introspection.experiments.lens.measure import yes_variants
from introspection.experiments.subject import Subject
from introspection.injection.cells import Readings, cells_of, run_cells
from introspection.injection.depths import token_probabilities
from introspection.injection.repengs import ControlVector
from introspection.model.language_model import LanguageModel
from introspection.model.readout import log_odds, read_answers
from introspection.settings import OfNorm
from introspection.stimuli.prompts import ControlQuestion, Conversation, Stimuli, Turn
from introspection.workbench.outcome import Answer, Control, Gained, Injected, Lens, Outcome, Reading
from introspection.workbench.replies import replies
from introspection.workbench.request import Request, check, conversation_of, number_of, wanted_strength
from introspection.workbench.vectors import name_of, vector_of

_TOKENS = 8  # of those that gained, after each beginning of a reply


def inject(subject: Subject, request: Request, vector: ControlVector | None = None) -> Outcome:
    """Inject a vector while a model reads turn 1, and read everything beside the same with nothing injected.

    subject: with weights. vector: the one of `vector_of`, where it is at hand. Raises RequestError for what cannot be.
    """
    check(subject, request)
    vector = vector_of(subject, request) if vector is None else vector
    layers = request.layers or subject.model_settings.layers
    norm = _norm(subject, request, layers)
    strength = number_of(subject, request, norm)
    injection = Injection("vector", strength, *layers)
    conversation = conversation_of(subject, request)
    questions = asked(subject.stimuli, request.questions)
    conversations = _conversations(subject.stimuli, conversation, questions)
    readings = run_cells(
        subject.model,
        conversations,
        cells_of(list(conversations), [injection]),
        {"vector": vector.directions},
        tokens_per_batch=subject.tokens_per_batch,
    )
    answer, *rest = _answers(subject, readings)
    return Outcome(
        injected=Injected(
            model=subject.key,
            vector=name_of(request),
            first_layer=layers[0],
            last_layer=layers[1],
            strength=strength,
            fraction=None if norm is None else strength / norm,
            length=_length(vector, layers),
        ),
        answer=answer,
        controls=tuple(
            Control(each.question, each.expected, found)
            for each, found in zip(questions, rest[len(rest) - len(questions) :], strict=True)
        ),
        lens=_lens(subject, readings),
        gained=tuple(
            gained
            for row, name in enumerate(conversations)
            if name in (_QUESTION, _CONTENT)
            for gained in _gained(subject.model, conversations[name][-1].content, readings, row)
        ),
        replies=replies(subject, conversation, injection, vector.directions, request.new_tokens)
        if request.new_tokens
        else (),
    )


_QUESTION, _CONTENT = "question", "content"


def _conversations(
    stimuli: Stimuli, conversation: Conversation, questions: Sequence[ControlQuestion]
) -> dict[str, Conversation]:
    """The question, the beginning of a reply that names the thought, and the control questions, after one turn 1."""
    content = next(iter(stimuli.content.values()))[-1]
    place = next(place for place, turn in enumerate(conversation) if not turn.injected and turn.role == "user")
    before = conversation[:place]
    return {
        _QUESTION: conversation,
        _CONTENT: (*conversation[:-1], content),
        **{each.question: (*before, *_control_turns(stimuli, each)) for each in questions},
    }


def _control_turns(stimuli: Stimuli, question: ControlQuestion) -> tuple[Turn, ...]:
    return stimuli.control_conversation(question)[-2:]


def _norm(subject: Subject, request: Request, layers: tuple[int, int]) -> float | None:
    """The residual stream's mean norm over the layers: the study's, or measured where a strength asks for it."""
    path = subject.folder / NORMS.name
    if path.is_file():
        return mean_norm(NORMS.read(path), layers)
    if isinstance(wanted_strength(subject, request), OfNorm):
        return mean_norm(residual_norms(subject.model, subject.stimuli.neutral(), subject.tokens_per_batch), layers)
    return None


def _answers(subject: Subject, readings: Readings) -> list[Answer]:
    """The answer in every conversation, in order."""
    arms = []
    for states in (readings.base, readings.injected):
        found = read_answers(subject.model, states[:, -1], subject.stimuli.yes, subject.stimuli.no)
        arms.append([_reading(found, row) for row in range(len(states))])
    return [Answer.of(base, injected) for base, injected in zip(*arms, strict=True)]


def _reading(found: Mapping[str, Tensor], row: int) -> Reading:
    names: Any = ("p_yes", "p_no", "answer_mass", "log_odds_yes", "logit_difference")
    return Reading(**{name: float(found[name][row]) for name in names})


def _lens(subject: Subject, readings: Readings) -> Lens:
    """The question's row at every depth."""
    tokens = [subject.model.token(variant) for variant in yes_variants(subject.model, subject.stimuli).used]
    base, injected = (
        tuple(token_probabilities(subject.model, states[0], tokens).sum(dim=-1).tolist())
        for states in (readings.base, readings.injected)
    )
    return Lens(base, injected)


def _gained(model: LanguageModel, after: str, readings: Readings, row: int) -> list[Gained]:
    """The tokens whose probability the injection increases most, by the increase, as the study lists them."""
    logits = model.logits(torch.stack([readings.base[row, -1], readings.injected[row, -1]])).cpu()
    base, injected = torch.softmax(logits, dim=-1)
    order = torch.sort(injected - base, descending=True, stable=True).indices[:_TOKENS]
    found = []
    for token in order.tolist():
        odds = log_odds(logits, token)
        shift = float(odds[1] - odds[0])
        found.append(Gained(after, token_text(model, token), float(base[token]), float(injected[token]), shift))
    return found


def _length(vector: ControlVector, layers: tuple[int, int]) -> float:
    return float(np.mean([np.linalg.norm(vector.directions[block]) for block in range(layers[0], layers[1] + 1)]))
