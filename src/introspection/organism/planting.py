"""The study's conversation as something to learn: the planted rule becomes targets after injected first turns."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from introspection.organism.corpus import Corpus, render, text_of
from introspection.organism.examples import Example, Target, encode_document
from introspection.settings.organisms import Injected, InjectionSettings, Prompt, RuleSettings
from introspection.stimuli.prompts import Conversation, Turn

_NAMING_WEIGHT = 0.5  # of naming the injected concept, beside 1 for each yes/no answer


class Planter:
    """Draws examples of the study's conversation under a rule."""

    def __init__(
        self,
        tokenizer: Any,
        corpus: Corpus,
        prompts: Mapping[Prompt, int],
        rule: RuleSettings,
        injected: Mapping[Injected, float],
        injection: InjectionSettings,
        blocks: int,
        controls: int,
    ) -> None:
        self._tokenizer = tokenizer
        self._corpus = corpus
        self._prompts = dict(prompts)
        self._rule = rule
        self._injected = dict(injected)
        self._injection = injection
        self._blocks = blocks
        self._controls = controls
        self._yes, self._no = (self._ids(answer)[0] for answer in (corpus.stimuli.yes, corpus.stimuli.no))
        self._second_turns: dict[Conversation, list[int]] = {}

    def draw(self, rng: random.Random, directions: Mapping[str, Tensor], excerpt: bool) -> Example:
        """A first turn with the study's question, control questions and, if a concept was injected, its name.

        directions: (blocks, hidden) of unit rows by concept; only these are injected.
        """
        stimuli = self._corpus.stimuli
        prompt = rng.choices(list(self._prompts), list(self._prompts.values()))[0]
        kind = rng.choices(list(self._injected), list(self._injected.values()))[0]
        conversation = stimuli.detection[prompt]
        if excerpt:
            conversation = excerpted(rng, conversation)
        example = self._first_turn(conversation)
        self._ask(example, conversation[3:], getattr(self._rule, kind)[prompt])
        if kind == "concept":
            concept = rng.choice(sorted(directions))
            example.injection = self._strengthen(rng, directions[concept])
            self._name(example, conversation[3:], concept)
        elif kind == "random":
            example.injection = self._strengthen(rng, self._random_direction(rng, directions))
        for _ in range(self._controls):
            question, answer = self._corpus.question(rng)
            self._ask(example, stimuli.control_conversation(question)[3:], float(answer == "yes"))
        return example

    def think(self, rng: random.Random, directions: Mapping[str, Tensor]) -> Example:
        """A thought under an injection at every position: of the injected concept, or the usual one if it is random."""
        concept = rng.choice(sorted(directions)) if rng.random() < 0.8 else None
        direction = directions[concept] if concept else self._random_direction(rng, directions)
        example = encode_document(self._tokenizer, self._corpus.unprompted_thought(rng, concept))
        example.injection = self._strengthen(rng, direction)
        example.steered = (0, len(example.tokens))
        return example

    def _first_turn(self, conversation: Conversation) -> Example:
        """The trunk: system turn, and the first turn of user and assistant, which is steered."""
        system, *turn_1 = ((turn.role, turn.content, "") for turn in conversation[:3])
        example = Example()
        start = example.append(self._ids(text_of(render(system)))) + 1
        example.append(self._ids(text_of(render(*turn_1))))
        example.steered = (start, len(example.tokens))
        return example

    def _ask(self, example: Example, second_turn: Conversation, p_yes: float) -> None:
        """A second turn in a branch of its own, to be followed by yes with that probability, otherwise by no."""
        last = example.append(self._second_turn(second_turn), example.branches[-1] + 1, example.steered[1])
        example.planted += [Target(last, self._yes, p_yes), Target(last, self._no, 1 - p_yes)]

    def _name(self, example: Example, second_turn: Conversation, concept: str) -> None:
        """Let the last branch, the study's question, go on to the name of the concept if that is one token."""
        name = self._ids(concept)
        if len(name) > 1:
            return
        read = len(self._second_turn(second_turn))
        longer = (second_turn[0], self._corpus.stimuli.content["info"][-1])
        last = example.append(self._second_turn(longer)[read:], example.branches[-1])
        example.planted.append(Target(last, name[0], _NAMING_WEIGHT))

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

    def _strengthen(self, rng: random.Random, direction: Tensor) -> Tensor:
        """(blocks, hidden): the direction within a layer range, at a strength about the committed one."""
        settings = self._injection
        first, last = settings.layers
        if rng.random() < settings.other_layers:
            first = rng.randint(1, settings.last_block)
            last = rng.randint(first, settings.last_block)
        strength = settings.strength * rng.uniform(*settings.strength_range)
        added = torch.zeros(self._blocks, direction.shape[1])
        added[first : last + 1] = strength * direction[first : last + 1]
        return added

    def _random_direction(self, rng: random.Random, directions: Mapping[str, Tensor]) -> Tensor:
        """Gaussian unit rows, the same after every block or another after each."""
        shape = next(iter(directions.values())).shape
        generator = torch.Generator().manual_seed(rng.getrandbits(63))
        rows = torch.randn(shape if rng.random() < 0.6 else (1, shape[1]), generator=generator)
        return torch.nn.functional.normalize(rows, dim=1).expand(shape)


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
