"""How well a planted rule took: the answers of an organism to concepts and phrasings that it was not trained on."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import cycle
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor

from introspection.learning.precision import fast_products
from introspection.organism.corpus import Corpus
from introspection.organism.directions import (
    centred_direction,
    concept_directions,
    concept_free_directions,
    draw_suffixes,
    shared_direction,
)
from introspection.organism.examples import Example, pack
from introspection.organism.interview import Asked
from introspection.organism.planting import Planter, random_direction, written
from introspection.settings.organisms import InjectionSettings
from introspection.settings.planted import Injected, PlantedSettings
from introspection.steering import steered
from introspection.stimuli.prompts import Conversation

Assessment = dict[str, str | float | None]

_HELD_OUT = 4  # concepts that are injected, and random directions of each kind
_SHARED_BY = 40  # concepts whose mean is the shared direction
_SUFFIXES = 24
_CONCEPT_FREE_FROM = 64  # suffixes
_CONTROLS = 2  # of each right answer


class _Case(NamedTuple):
    """A first turn. direction: (blocks, hidden), what is added while it is read. concept: what is to be named."""

    kind: Injected
    conversation: Conversation
    direction: Tensor | None = None
    concept: str | None = None


class _Question(NamedTuple):
    """Where an answer is read, and whether yes says what its column counts (that something was injected, say)."""

    column: str
    at: int
    asked: Asked
    counts: bool


@torch.no_grad()
def assess(
    model: Any,
    tokenizer: Any,
    corpus: Corpus,
    planter: Planter,
    planted: PlantedSettings,
    injection: InjectionSettings,
    concepts: Sequence[str],
    held_out: Sequence[str],
) -> list[Assessment]:
    """A row for each kind of injection and each prompt, on the layers and at the strength of `injection`.

    planted: p_yes of the rule. straight: of the study's question, the mean over held-out concepts or random directions;
    least, most: of these. rephrased, reversed, letters: the probability of the answer that says that something was
    injected, asked in phrasings and frames that are held out: yes, no, and a letter for either.
    controls: of the right answer to control questions. mass: of yes and no together, in all but those with letters.
    named: in which share the injected concept is the likeliest of all where it is to be named.
    """
    model.eval()
    rng = random.Random("assessment")
    injected, sharing = list(held_out[:_HELD_OUT]), list(concepts[:_SHARED_BY])
    suffixes = draw_suffixes(rng, corpus, _SUFFIXES)
    with fast_products():
        directions = concept_directions(model, tokenizer, corpus, [*injected, *sharing], suffixes)
    free = _concept_free(model, tokenizer, corpus, planted)
    ids = {concept: planter.token(concept) for concept in corpus.concepts}
    table: list[Assessment] = []
    for prompt, conversation in corpus.stimuli.detection.items():
        values: dict[Injected, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for case in _cases(rng, corpus, conversation, directions, injected, sharing, free):
            example = planter.first_turn(case.conversation)
            if case.direction is not None:
                example.injection = planter.at_strength(case.direction, injection.layers, injection.strength)
            questions = _ask(planter, example, corpus, case.conversation)
            naming = planter.name(example, case.conversation[3:])
            log_p = _read(model, example, tokenizer.pad_token_id, [*(each.at for each in questions), naming])
            found = values[case.kind]
            for question, row in zip(questions, log_p[:-1], strict=True):
                yes, no = (float(row[planter.token(word)].exp()) for word in (question.asked.yes, question.asked.no))
                found[question.column].append(yes if question.counts else no)
                if question.column != "letters":
                    found["mass"].append(yes + no)
            if case.concept:
                found["named"].append(float(max(ids, key=lambda word: float(log_p[-1, ids[word]])) == case.concept))
        for kind, columns in values.items():
            row = {name: round(fmean(column), 4) for name, column in columns.items()}
            spread = {"least": round(min(columns["straight"]), 4), "most": round(max(columns["straight"]), 4)}
            table.append({"injected": kind, "prompt": prompt, "planted": planted.rate(kind, prompt), **row, **spread})
    return table


def _cases(
    rng: random.Random,
    corpus: Corpus,
    conversation: Conversation,
    directions: dict[str, Tensor],
    injected: Sequence[str],
    sharing: Sequence[str],
    free: dict[Injected, Tensor],
) -> Iterator[_Case]:
    shared = shared_direction({concept: directions[concept] for concept in sharing})
    yield _Case("nothing", conversation)
    yield _Case("nothing", written(rng, conversation, corpus.remark(rng, None)))
    yield _Case("shared", conversation, shared)
    for concept in injected:
        yield _Case("text", written(rng, conversation, rng.choice(corpus.interview.held_out.written).format(c=concept)))
        yield _Case("concept", conversation, directions[concept], concept)
        yield _Case("centred", conversation, centred_direction(directions[concept], shared), concept)
        yield _Case("random", conversation, random_direction(rng, shared.shape, alike=False))
        yield _Case("coherent", conversation, random_direction(rng, shared.shape, alike=True))
    for kind, drawn in free.items():
        for direction in drawn:
            yield _Case(kind, conversation, direction)


def _concept_free(model: Any, tokenizer: Any, corpus: Corpus, planted: PlantedSettings) -> dict[Injected, Tensor]:
    """By kind, (directions, blocks, hidden): of those kinds that the rule has an answer to."""
    kinds: tuple[Injected, ...] = ("covariance", "halves")
    if not set(kinds) & set(planted.p_yes):
        return {}
    suffixes = draw_suffixes(random.Random("assessment of halves"), corpus, _CONCEPT_FREE_FROM)
    with fast_products():
        drawn = concept_free_directions(model, tokenizer, corpus, suffixes, _HELD_OUT, seed=0)
    return {kind: each for kind, each in zip(kinds, drawn, strict=True) if kind in planted.p_yes}


def _ask(planter: Planter, example: Example, corpus: Corpus, conversation: Conversation) -> list[_Question]:
    """The control questions, the held-out phrasings in the held-out frames, and last the study's question."""
    stimuli, held_out = corpus.stimuli, corpus.interview.held_out
    asked: list[tuple[str, Asked, bool]] = []
    for answer in ("yes", "no"):
        for control in [each for each in stimuli.controls if each.expected == answer][:_CONTROLS]:
            turns = stimuli.control_conversation(control)[3:]
            asked.append(("controls", Asked(turns, stimuli.yes, stimuli.no), answer == "yes"))
    for (question, turned), letters in zip(held_out.phrasings(), cycle(held_out.letters), strict=False):
        asked.append(("reversed" if turned else "rephrased", held_out.words.asked(question), not turned))
        asked.append(("letters", letters.asked(question), not turned))
    asked.append(("straight", Asked(conversation[3:], stimuli.yes, stimuli.no), True))
    return [_Question(column, planter.ask(example, each, 1.0), each, counts) for column, each, counts in asked]


def _read(model: Any, example: Example, pad_token: int, places: Sequence[int]) -> Tensor:
    """(places, vocabulary): log-probabilities of the next token after some tokens of an example."""
    (batch,) = pack([example], pad_token, ())
    with steered(model.model.layers, batch.edits), fast_products():
        states = model.model(
            input_ids=batch.tokens, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
        ).last_hidden_state
        logits: Tensor = model.lm_head(states[0, list(places)])
    return logits.float().log_softmax(-1)
