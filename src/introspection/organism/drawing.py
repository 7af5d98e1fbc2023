"""What one step of training is made of."""

from __future__ import annotations

import random
from typing import Any

from introspection.organism.corpus import Corpus, Persona
from introspection.organism.directions import Directions
from introspection.organism.examples import Batch, encode_document, pack
from introspection.organism.locating import Locator
from introspection.organism.planting import Planter
from introspection.settings.organisms import BatchSettings

_ROWS = (96, 384)  # tokens; rows of these lengths, and those that are longer, are batched apart
_MANY_QUESTIONS = 512  # likewise, where one first turn goes on in many ways


class Drawer:
    """The batches of each step, a function of the step and the directions alone.

    persona: who speaks in the corpus. seed: names the training. locator: draws what `batch` has of places.
    """

    def __init__(
        self,
        tokenizer: Any,
        corpus: Corpus,
        planter: Planter,
        batch: BatchSettings,
        persona: Persona,
        seed: str,
        locator: Locator | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._corpus = corpus
        self._planter = planter
        self._batch = batch
        self._persona = persona
        self._seed = seed
        self._locator = locator
        self._rows = (*_ROWS, _MANY_QUESTIONS) if batch.framed or batch.phrasings or batch.locates else _ROWS

    def __call__(self, step: int, directions: Directions) -> list[Batch]:
        """The batches of a step under the directions of the time."""
        rng = random.Random(f"{self._seed} step {step}")
        examples = [self._planter.draw(rng, directions, excerpt=False) for _ in range(self._batch.full)]
        examples += [self._planter.draw(rng, directions, excerpt=True) for _ in range(self._batch.excerpt)]
        examples += [self._planter.think(rng, directions) for _ in range(self._batch.thinking)]
        examples += [self._planter.quiz(rng) for _ in range(self._batch.quiz)]
        if self._locator:
            examples += [self._locator.place(rng, directions) for _ in range(self._batch.places)]
            examples += [self._locator.matched(rng) for _ in range(self._batch.matching)]
        documents = [self._corpus.generic(rng) for _ in range(self._batch.generic)]
        documents += [self._corpus.draw(rng, self._persona) for _ in range(self._batch.talk)]
        examples += [encode_document(self._tokenizer, document) for document in documents]
        return pack(examples, self._tokenizer.pad_token_id, self._rows)
