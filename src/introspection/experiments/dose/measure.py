"""How large a model's residual stream is, and what of the model is left under injections of fractions of that size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from introspection import names
from introspection.engine.trial import Injection, Trial
from introspection.experiments.dose.norms import residual_norms
from introspection.experiments.dose.rule import mean_norm
from introspection.experiments.dose.tables import DOSE, NORMS
from introspection.experiments.samples.measure import Intervention, generate_replies
from introspection.experiments.subject import Run, Subject
from introspection.injection.answers import ask
from introspection.injection.cells import cells_of
from introspection.injection.divergence import divergences, steered_trials
from introspection.injection.dose import of_norm
from introspection.injection.vectors import text_trials
from introspection.settings import DoseSettings
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import ControlQuestion, Conversation, Stimuli
from introspection.tables import Outputs, names_of


@dataclass(frozen=True)
class Arm:
    """A vector at a fraction of the norm; at fraction 0 nothing is injected."""

    fraction: float
    injection: Injection


def trials(subject: Subject) -> list[Run]:
    """Neutral text unsteered, and under every vector and fraction; the control questions; the replies.

    The strengths are those of a residual stream of norm 1: which rows share their computation does not depend on it.
    """
    tokenizer, stimuli, settings = subject.model.tokenizer, subject.stimuli, subject.settings
    under = arms(settings.dose, subject.model_settings.layers, norm=1.0)
    injections = [arm.injection for arm in under]
    passages = text_trials(tokenizer, stimuli.neutral())
    conversations = question_conversations(stimuli, settings.dose.questions)
    top_of_mind = encode(tokenizer, stimuli.top_of_mind)
    reply = Trial(top_of_mind.token_ids, top_of_mind.steered)
    return [
        Run(passages, depths=0),
        Run(steered_trials(passages, injections)),
        subject.run(conversations, cells_of(list(conversations), injections)),
        Run([reply] * len(under), new_tokens=settings.samples.max_new_tokens),
    ]


def measure(subject: Subject) -> Outputs:
    """The norms, and on neutral text, control questions and free replies what each dose does."""
    settings, batch = subject.settings, subject.tokens_per_batch
    layers = subject.model_settings.layers
    norms = residual_norms(subject.model, subject.stimuli.neutral(), batch)
    under = arms(settings.dose, layers, mean_norm(norms, layers))
    injections = [arm.injection for arm in under]
    directions = subject.directions([injection.vector for injection in injections])
    questions = asked(subject.stimuli, settings.dose.questions)
    answers = ask(
        subject.model,
        subject.stimuli,
        question_conversations(subject.stimuli, settings.dose.questions),
        injections,
        directions,
        tokens_per_batch=batch,
        progress="control questions",
    )
    replies = generate_replies(
        subject.model,
        subject.stimuli.top_of_mind,
        [Intervention(arm.injection.vector, arm.injection) for arm in under],
        directions,
        max_new_tokens=settings.samples.max_new_tokens,
        temperature=settings.samples.temperature,
        seed=settings.study.seed,
    )
    tokens = subject.model.tokenizer
    rows = pd.DataFrame(
        {
            "vector": [arm.injection.vector for arm in under],
            "fraction": [arm.fraction for arm in under],
            "strength": [arm.injection.strength for arm in under],
            "first_layer": layers[0],
            "last_layer": layers[1],
            "kl": divergences(subject.model, subject.stimuli.neutral(), injections, directions, batch),
            **competence(answers, questions, len(under)),
            "distinct": [distinct_pairs(tokens(reply, add_special_tokens=False)["input_ids"]) for reply in replies],
            "on_topic": pd.array(
                [names_concept(reply, arm.injection.vector) for reply, arm in zip(replies, under, strict=True)],
                dtype="Int64",
            ),
            "reply": replies,
        }
    )
    return {NORMS.name: NORMS.of(norms), DOSE.name: DOSE.of(rows[names_of(DOSE.columns)])}


def arms(dose: DoseSettings, layers: tuple[int, int], norm: float) -> list[Arm]:
    """Every vector at every fraction of the norm, in the order of the table."""
    vectors = names.vector_names(dose.concepts, dose.random_directions, has_finetune=False)
    return [
        Arm(fraction, Injection(vector, of_norm(fraction, norm), *layers))
        for vector in vectors
        for fraction in dose.fractions
    ]


def asked(stimuli: Stimuli, count: int | None) -> list[ControlQuestion]:
    """The first `count` control questions of each right answer, or all, in the order of their file."""
    by_answer = {
        answer: [each for each in stimuli.controls if each.expected == answer][:count] for answer in ("yes", "no")
    }
    return [each for each in stimuli.controls if each in by_answer[each.expected]]


def question_conversations(stimuli: Stimuli, count: int | None) -> dict[str, Conversation]:
    """Turn 1 of the control prompt and each of these questions, by question."""
    return {each.question: stimuli.control_conversation(each) for each in asked(stimuli, count)}


def competence(answers: pd.DataFrame, questions: Sequence[ControlQuestion], arms: int) -> Mapping[str, list[float]]:
    """Of the rows of `ask`, for each arm: the mean answer mass, and the share of questions answered right."""
    yes, no = (answers[f"p_{answer}_injected"].to_numpy().reshape(arms, -1) for answer in ("yes", "no"))
    expected = [each.expected == "yes" for each in questions]
    return {
        "answer_mass": list((yes + no).mean(axis=1)),
        "control_accuracy": list(((yes > no) == expected).mean(axis=1)),
    }


def distinct_pairs(tokens: Sequence[int]) -> float:
    """The share of distinct ones among the pairs of neighbouring tokens: words would miss a loop without spaces."""
    pairs = list(pairwise(tokens))
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def names_concept(reply: str, vector: str) -> int | None:
    """1 where the reply names the vector's concept in whatever case, 0 where not; None for a random direction."""
    return int(vector.casefold() in reply.casefold()) if names.kind_of(vector) == "concept" else None
