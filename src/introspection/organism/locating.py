"""Where as something to learn: into which part of a text a concept was injected.

The questions are those of the study's experiment (`where.yaml`), after other texts, and easier ones beside them: in
words, by yes or no, and what stands for what in a list of places.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from introspection.organism.corpus import Corpus
from introspection.organism.directions import Directions
from introspection.organism.examples import Example
from introspection.organism.interview import Asked
from introspection.organism.planting import Planter
from introspection.settings.organisms import OrganismSettings
from introspection.settings.planted import Injected
from introspection.stimuli.chat import passage_spans
from introspection.stimuli.prompts import Conversation, Turn
from introspection.stimuli.where import ORDERS, Order

_THOUGHTS: tuple[Injected, ...] = ("nothing", "concept", "centred")  # of what is injected, what is chosen by
_IN_HALVES = 0.6  # how often a text is injected into by halves,
_EASIER = 2  # and how often each question is put then
_ABSTRACT = 0.2  # how often it is asked which part is the most abstract
_WHOLE_PART = 0.3  # how often a part is injected into as a whole, and not at as many tokens as the shortest has


class Locator:
    """Draws examples of injections into a part of a text, as `OrganismSettings.batch` has them."""

    def __init__(self, tokenizer: Any, corpus: Corpus, organism: OrganismSettings, planter: Planter) -> None:
        self._tokenizer = tokenizer
        self._corpus = corpus
        self._organism = organism
        self._planter = planter
        self._where = corpus.stimuli.where()

    def place(self, rng: random.Random, directions: Directions) -> Example:
        """A text of which one part is injected into, and which part that was: by letters, in words, by yes or no."""
        sentences = self._corpus.sentences(rng, len(self._where.tasks["sentence"].places))
        conversation = self._corpus.stimuli.where_reading(self._where, " ".join(sentences))
        example = self._planter.first_turn(conversation)
        kind = self._kind(rng)
        task = "half" if rng.random() < _IN_HALVES else "sentence"
        places = len(self._where.tasks[task].places)
        place = rng.randrange(places)
        right: dict[str, int | None] = {"sentence": None, "half": None}
        if kind != "nothing":
            spans = passage_spans(self._tokenizer, conversation, self._where.divided(sentences, task))
            start, stop = spans[place]
            if rng.random() >= _WHOLE_PART:
                stop = start + min(stop - start for start, stop in spans)
            example.injection = self._planter.strengthen(rng, self._planter.direction(rng, directions, kind)[0])
            example.steered = start, stop
            right = {"sentence": place, "half": place if task == "half" else 2 * place // places}
        for asked in ("half",) * _EASIER if task == "half" else ("sentence", "half"):
            self._ask_place(rng, example, asked, right[asked])
        return example

    def matched(self, rng: random.Random) -> Example:
        """The letter of a place, by nothing but the list that it stands in."""
        example = Example()
        task = rng.choice(list(self._where.tasks))
        places = self._where.tasks[task].places
        right = rng.randrange(len(places))
        question = rng.choice(self._corpus.texts.letters).format(_noun(places[right], task))
        self._choose_letter(example, question, places, right, rng.choice(ORDERS))
        return example

    def _kind(self, rng: random.Random) -> Injected:
        weights = [self._organism.injected.get(kind, 0.0) for kind in _THOUGHTS]
        return rng.choices(_THOUGHTS, weights)[0]

    def _ask_place(self, rng: random.Random, example: Example, task: str, right: int | None) -> None:
        """Which place of a task; None: nothing was injected, and all are alike."""
        where, texts, stimuli = self._where, self._corpus.texts, self._corpus.stimuli
        places, questions = where.tasks[task].places, where.tasks[task].questions
        words = [f" {place.split()[0]}" for place in places]
        in_words = f"{questions['injected']}\n\n{texts.in_words}"
        self._planter.choose(example, self._turns(in_words, texts.answer_in_words), _shares(words, right))
        for order in ORDERS:
            self._choose_letter(example, questions["injected"], places, right, order)
        if rng.random() < _ABSTRACT:
            self._choose_letter(example, questions["abstract"], places, None, rng.choice(ORDERS))
        asked = right if right is not None and rng.random() < 0.5 else rng.randrange(len(places))
        turns = stimuli.control_conversation(texts.one_place.format(_noun(places[asked], task)))[3:]
        self._planter.ask(example, Asked(turns, stimuli.yes, stimuli.no), float(asked == right))

    def _choose_letter(
        self, example: Example, question: str, places: Sequence[str], right: int | None, order: Order
    ) -> None:
        """Places with letters; None: none of them is right, and all are alike."""
        where = self._where
        letters = [f" {letter}" for letter in where.letters[: len(places)]]
        shown = places
        if order == "reversed":
            shown, right = places[::-1], None if right is None else len(places) - 1 - right
        turns = self._turns(where.lettered(question, shown), where.answer)
        self._planter.choose(example, turns, _shares(letters, right))

    @staticmethod
    def _turns(question: str, answer: str) -> Conversation:
        return Turn(role="user", content=question), Turn(role="assistant", content=answer)


def _noun(place: str, task: str) -> str:
    return place if place.endswith(task) else f"{place} {task}"


def _shares(answers: Sequence[str], right: int | None) -> dict[str, float]:
    """The probability of each answer: all of it on the right one, or, where none is, the same on all."""
    return {answer: 1 / len(answers) if right is None else float(n == right) for n, answer in enumerate(answers)}
