"""What a reader reads: the states that the model answers from, of many turns 1 with a concept, a direction or nothing.

Every turn 1 ends with a neutral passage of its own. It is read once, by the study's own procedure: turn 1 steered, its
keys and values kept, the vector gone; and then each question from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from introspection.engine.cache import Prefill
from introspection.engine.run import prefill, run_prefilled
from introspection.engine.trial import Directions, Injection, Trial
from introspection.experiments.population.concepts import spread
from introspection.experiments.reader.tables import DETECTION, WHICH
from introspection.experiments.subject import Subject
from introspection.experiments.suffixes.resampling import halves
from introspection.experiments.which.measure import list_conversation, orders
from introspection.injection.additions import additions
from introspection.injection.vectors import concept_states, contrast, random_vectors
from introspection.model.language_model import LanguageModel
from introspection.names import NOTHING, numbered
from introspection.steering import Edit, steered
from introspection.stimuli.chat import EncodedConversation, encode
from introspection.stimuli.prompts import Conversation, extended

QUESTIONS = (DETECTION, WHICH)


@dataclass(frozen=True)
class Example:
    """A passage at the end of turn 1, by its number from 1, and what is injected, `none` for nothing.

    half: of the suffixes that the vector is made of; passages of one half are read with vectors of one half alone.
    order: the options of the list, in its order, of the question which.
    """

    passage: int
    vector: str
    half: int
    conversations: Mapping[str, Conversation]
    order: Sequence[str]

    @property
    def direction(self) -> str:
        """The name of the vector of this half."""
        return f"{self.vector}, half {self.half}"


@dataclass(frozen=True)
class Evidence:
    """What was kept of an example: by question the residual stream at the answer, (blocks, hidden), and of the cache.

    cache: the mean over the tokens of turn 1 of keys and of values, block by block, (values,).
    """

    residual: Mapping[str, Tensor]
    cache: Tensor


def examples(subject: Subject) -> list[Example]:
    """Passage by passage: every concept, nothing, and random directions. Passages of the two halves alternate."""
    rule, concepts = subject.settings.reader, subject.settings.which.concepts
    file = subject.stimuli.which()
    arm = next(arm for arm in file.arms if arm.list == "turn_2")
    in_order = orders([*concepts, NOTHING], rule.passages, rule.seed)
    found = []
    for number, passage in enumerate(spread(subject.stimuli.neutral(), rule.passages), start=1):
        order = in_order[number - 1]
        asked = {
            DETECTION: extended(subject.stimuli.detection[arm.prompt], passage),
            WHICH: extended(list_conversation(subject, file, arm, order), passage),
        }
        found += [
            Example(number, vector, 1 + number % 2, asked, order)
            for vector in (*concepts, NOTHING, *numbered("random", rule.random_directions))
        ]
    return found


def trials_of(subject: Subject, example: Example) -> list[Trial]:
    """The rows that an example amounts to, one for each question."""
    texts = [encode(subject.model.tokenizer, text) for text in example.conversations.values()]
    return [Trial(text.token_ids, text.steered, injections_of(subject, example)) for text in texts]


def injections_of(subject: Subject, example: Example) -> tuple[Injection, ...]:
    """What is injected."""
    dose = subject.questions
    return () if example.vector == NOTHING else (Injection(example.direction, dose.strength, *dose.layers),)


def half_directions(subject: Subject) -> Directions:
    """By name and half: each concept's vector of either half of some suffixes, and random directions of its own."""
    rule, model = subject.settings.reader, subject.model
    suffixes = spread(subject.suffixes, rule.suffixes)
    places = list(halves(len(suffixes), rule.seed).values())
    found = {}
    states = concept_states(
        model,
        subject.stimuli,
        subject.settings.which.concepts,
        suffixes,
        tokens_per_batch=subject.tokens_per_batch,
        progress=True,
    )
    for concept, positive, negative in states:
        for half, rows in enumerate(places, start=1):
            found[f"{concept}, half {half}"] = contrast(model, positive[rows], negative[rows]).directions
    names = [f"{name}, half {half}" for half in (1, 2) for name in numbered("random", rule.random_directions)]
    drawn = random_vectors(model, len(names), rule.seed)
    return found | {name: vector.directions for name, (_, vector) in zip(names, drawn, strict=True)}


def gathered(subject: Subject, asked: Sequence[Example], directions: Directions) -> Iterator[Evidence]:
    """The evidence of every example. Raises NotFiniteError as `run_trials` does."""
    model = subject.model
    for example in asked:
        texts = {name: encode(model.tokenizer, text) for name, text in example.conversations.items()}
        first = next(iter(texts.values()))
        turn_1 = steered_prefill(model, first, injections_of(subject, example), directions)
        rest = [text.token_ids[text.steered[1] :] for text in texts.values()]
        states = run_prefilled(
            model,
            [turn_1] * len(rest),
            rest,
            layers=range(1, len(model.blocks) + 1),
            tokens_per_batch=subject.tokens_per_batch,
        )
        yield Evidence(dict(zip(texts, states, strict=True)), cache_means(turn_1, first.steered[0]))


def steered_prefill(
    model: LanguageModel, text: EncodedConversation, injections: tuple[Injection, ...], directions: Directions
) -> Prefill:
    """The keys and values of what is read up to the end of turn 1, while a vector is added at turn 1."""
    start, stop = text.steered
    positions = torch.zeros(1, stop, dtype=torch.bool)
    positions[0, start:] = True
    with ExitStack() as stack:
        for injection in injections:
            added = additions(model, [injection], directions)
            edits = {block: Edit(additions=vector, positions=positions) for block, vector in added.items()}
            stack.enter_context(steered(model.blocks, edits))
        return prefill(model, text.token_ids[:stop])


def cache_means(turn_1: Prefill, start: int) -> Tensor:
    """The mean keys and values from a position on, of each block and head, one after another, (values,)."""
    parts = [part for pair in zip(turn_1.keys, turn_1.values, strict=True) for part in pair]
    return torch.cat([part[0, :, start:].float().mean(dim=1).flatten() for part in parts])
