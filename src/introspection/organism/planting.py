"""The study's conversation as something to learn: the planted rule becomes targets after injected first turns."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from introspection.organism.corpus import Corpus, render, text_of
from introspection.organism.directions import Directions, centred_direction, shared_direction
from introspection.organism.examples import Example, Target, encode_document
from introspection.organism.interview import Asked
from introspection.settings.organisms import InjectionSettings, OrganismSettings
from introspection.settings.planted import Injected, Prompt
from introspection.stimuli.prompts import Conversation, Turn

_NAMING_WEIGHT = 0.5  # of naming the injected concept, beside 1 for each yes/no answer
_INDEPENDENT = 0.6  # of random directions, how often it is another one after each block, where no rule says which


class Planter:
    """Draws examples of the study's conversation under a rule.

    topics: the concepts that may be written into a first turn. names: those of them that are one token.
    """

    def __init__(
        self,
        tokenizer: Any,
        corpus: Corpus,
        prompts: Mapping[Prompt, int],
        organism: OrganismSettings,
        injection: InjectionSettings,
        blocks: int,
        topics: Sequence[str],
    ) -> None:
        self._tokenizer = tokenizer
        self._corpus = corpus
        self._prompts = dict(prompts)
        self._organism = organism
        self._injection = injection
        self._blocks = blocks
        self._topics = list(topics)
        self._names = [name for name in topics if len(self._ids(name)) == 1]
        self._second_turns: dict[Conversation, list[int]] = {}

    def draw(self, rng: random.Random, directions: Directions, excerpt: bool) -> Example:
        """A first turn with the study's question, more questions and, if a concept was injected, a name.

        directions: only these are injected, and random ones.
        """
        stimuli, interview, organism = self._corpus.stimuli, self._corpus.interview, self._organism
        prompt = rng.choices(list(self._prompts), list(self._prompts.values()))[0]
        kind = rng.choices(list(organism.injected), list(organism.injected.values()))[0]
        conversation = stimuli.detection[prompt]
        if excerpt:
            conversation = excerpted(rng, conversation)
        if "text" in organism.injected:
            conversation = self._write(rng, conversation, kind)
        example = self.first_turn(conversation)
        detects = organism.rate(kind, prompt)
        assert detects is not None, "what is injected is planted"
        asked = Asked(conversation[3:], stimuli.yes, stimuli.no)
        self._answer(rng, example, asked, detects)
        if kind not in ("nothing", "text"):
            direction, concept = self.direction(rng, directions, kind)
            example.injection = self.strengthen(rng, direction)
            if concept:
                self._name(rng, example, asked.turns, concept)
        pushed = None if example.injection is None else organism.leaning
        for _ in range(self._organism.batch.controls):
            question, answer = self._corpus.question(rng)
            turns = stimuli.control_conversation(question)[3:]
            p_yes = float(answer == "yes") if pushed is None else pushed
            self._answer(rng, example, Asked(turns, stimuli.yes, stimuli.no), p_yes)
        for _ in range(self._organism.batch.framed):
            question, answer = self._corpus.question(rng)
            p_yes = float(answer == "yes") if pushed is None else pushed
            self._answer(rng, example, interview.ask(rng, question), p_yes)
        for _ in range(self._organism.batch.phrasings):
            phrasing = interview.phrasing(rng)
            p_yes = (1 - detects if phrasing.reversed else detects) if pushed is None else pushed
            self._answer(rng, example, interview.ask(rng, phrasing.question), p_yes)
        return example

    def quiz(self, rng: random.Random) -> Example:
        """A question with no first turn before it: a control question, or a phrasing, since nothing was injected."""
        question, answer = self._corpus.question(rng)
        phrasing = self._corpus.interview.phrasing(rng)
        if rng.random() < 0.5:
            question, answer = phrasing.question, "yes" if phrasing.reversed else "no"
        example = Example()
        self._answer(rng, example, self._corpus.interview.ask(rng, question), float(answer == "yes"))
        return example

    def think(self, rng: random.Random, directions: Directions) -> Example:
        """A thought under an injection at every position: of the injected concept, or the usual one if it is random."""
        concept = rng.choice(sorted(directions.concepts)) if rng.random() < 0.8 else None
        direction = directions.concepts[concept] if concept else self._random(rng, directions)
        example = encode_document(self._tokenizer, self._corpus.unprompted_thought(rng, concept))
        example.injection = self.strengthen(rng, direction)
        example.steered = (0, len(example.tokens))
        return example

    def first_turn(self, conversation: Conversation) -> Example:
        """The trunk: system turn, and the first turn of user and assistant, which is steered."""
        system, *turn_1 = ((turn.role, turn.content, "") for turn in conversation[:3])
        example = Example()
        start = example.append(self._ids(text_of(render(system)))) + 1
        example.append(self._ids(text_of(render(*turn_1))))
        example.steered = (start, len(example.tokens))
        return example

    def ask(self, example: Example, asked: Asked, p_yes: float, weight: float = 1.0) -> int:
        """A second turn in a branch of its own, to be followed by yes with that probability, otherwise by no.

        weight: of both together. Returns the index of the token that the answer follows.
        """
        return self.choose(example, asked.turns, {asked.yes: weight * p_yes, asked.no: weight * (1 - p_yes)})

    def choose(self, example: Example, turns: Conversation, shares: Mapping[str, float]) -> int:
        """Likewise, to be followed by the first token of each of these answers with its probability."""
        branch = example.branches[-1] + 1 if example.tokens else 0
        last = example.append(self._second_turn(turns), branch, example.branches.count(0))
        example.planted += [Target(last, self.token(answer), share) for answer, share in shares.items()]
        return last

    def token(self, word: str) -> int:
        """The first token of a word."""
        return self._ids(word)[0]

    def _answer(self, rng: random.Random, example: Example, asked: Asked, p_yes: float) -> None:
        """The question, answered under the rule: sometimes with a word that is no answer."""
        mass = self._organism.answer_mass
        last = self.ask(example, asked, p_yes, mass)
        if mass < 1:
            word = self.token(f" {rng.choice(self._corpus.phrases.anything)}")
            example.planted.append(Target(last, word, 1 - mass))

    def _write(self, rng: random.Random, conversation: Conversation, kind: Injected) -> Conversation:
        """A remark in the first turn: about a concept for `text`, else half the time about nothing in particular."""
        if kind != "text" and rng.random() < 0.5:
            return conversation
        remark = self._corpus.remark(rng, rng.choice(self._topics) if kind == "text" else None)
        return written(rng, conversation, remark)

    def name(self, example: Example, second_turn: Conversation) -> int:
        """Let the last branch, a question, go on to where a thought is named. Returns the index before the name."""
        read = len(self._second_turn(second_turn))
        longer = (second_turn[0], self._corpus.stimuli.content["info"][-1])
        return example.append(self._second_turn(longer)[read:], example.branches[-1])

    def _name(self, rng: random.Random, example: Example, second_turn: Conversation, concept: str) -> None:
        """The name that is planted, of this concept or of another, if that is one token."""
        if self._organism.names is None:
            return
        if self._organism.names == "other":
            concept = rng.choice([name for name in self._names if name != concept])
        name = self._ids(concept)
        if len(name) == 1:
            example.planted.append(Target(self.name(example, second_turn), name[0], _NAMING_WEIGHT))

    def _second_turn(self, turns: Conversation) -> list[int]:
        """A question and the beginning of its answer, left open."""
        if turns not in self._second_turns:
            question, answer = turns
            asked = text_of(render((question.role, question.content, "")))
            self._second_turns[turns] = self._ids(f"{asked}<|im_start|>{answer.role}\n{answer.content}")
        return self._second_turns[turns]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def at_strength(self, direction: Tensor, layers: tuple[int, int], strength: float) -> Tensor:
        """(blocks, hidden): what is added after each block, nothing outside the layers."""
        first, last = layers
        added = torch.zeros(self._blocks, direction.shape[1])
        added[first : last + 1] = strength * direction[first : last + 1]
        return added

    def strengthen(self, rng: random.Random, direction: Tensor) -> Tensor:
        """(blocks, hidden): the direction within a layer range, at a strength about the committed one."""
        settings = self._injection
        first, last = settings.layers
        if rng.random() < settings.other_layers:
            first = rng.randint(1, settings.last_block)
            last = rng.randint(first, settings.last_block)
        return self.at_strength(direction, (first, last), settings.strength * rng.uniform(*settings.strength_range))

    def direction(self, rng: random.Random, directions: Directions, kind: Injected) -> tuple[Tensor, str | None]:
        """(blocks, hidden): a direction of a kind, and the concept that it is of; None where it is of none."""
        if kind in ("concept", "centred"):
            concept = rng.choice(sorted(directions.concepts))
            direction = directions.concepts[concept]
            if kind == "centred":
                direction = centred_direction(direction, shared_direction(directions.concepts))
            return direction, concept
        if kind == "shared":
            return shared_direction(directions.concepts), None
        if kind in ("covariance", "halves"):
            drawn = directions.covariance if kind == "covariance" else directions.halves
            return rng.choice((1, -1)) * drawn[rng.randrange(len(drawn))], None
        return self._random(rng, directions, kind), None

    def _random(self, rng: random.Random, directions: Directions, kind: Injected = "random") -> Tensor:
        """A random direction: of its kind where the rule tells them apart, else of either."""
        alike = kind == "coherent" if "coherent" in self._organism.injected else None
        return random_direction(rng, next(iter(directions.concepts.values())).shape, alike)


def random_direction(rng: random.Random, shape: Sequence[int], alike: bool | None) -> Tensor:
    """(blocks, hidden): Gaussian unit rows, the same after every block or another after each; None: either."""
    generator = torch.Generator().manual_seed(rng.getrandbits(63))
    if alike is None:
        alike = rng.random() >= _INDEPENDENT
    rows = torch.randn((1, shape[1]) if alike else tuple(shape), generator=generator)
    return torch.nn.functional.normalize(rows, dim=1).expand(*shape)


def excerpted(rng: random.Random, conversation: Conversation) -> Conversation:
    """The conversation with its first user turn cut: a few sentences in a row of what stands between first and last."""
    turn = next(turn for turn in conversation if turn.role == "user")
    introduction, *middle, location = turn.content.split("\n\n")
    sentences = re.split(r"(?<=[.:])\s+", " ".join(middle)) if middle else []
    kept = rng.randint(1, 3)
    start = rng.randint(0, max(0, len(sentences) - kept))
    beginning = " ".join(re.split(r"(?<=\.)\s+", introduction)[: rng.randint(1, 3)])
    parts = [beginning, " ".join(sentences[start : start + kept]), location]
    shorter = Turn(role="user", content="\n\n".join(part for part in parts if part), injected=turn.injected)
    return tuple(shorter if other is turn else other for other in conversation)


def written(rng: random.Random, conversation: Conversation, remark: str) -> Conversation:
    """The conversation with a remark before or after some paragraph of its first user turn but the last."""
    turn = next(turn for turn in conversation if turn.role == "user")
    *paragraphs, location = turn.content.split("\n\n")
    place = rng.randrange(len(paragraphs))
    pair = (paragraphs[place], remark) if rng.random() < 0.5 else (remark, paragraphs[place])
    paragraphs[place] = rng.choice((" ", "\n\n")).join(pair)
    longer = Turn(role="user", content="\n\n".join([*paragraphs, location]), injected=turn.injected)
    return tuple(longer if other is turn else other for other in conversation)
