"""The population's concepts, and requests that name none, as they are written in the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, model_validator

from introspection import names
from introspection.files import read_yaml
from introspection.stimuli.files import StimuliError, StimuliFile, Text
from introspection.stimuli.prompts import Conversation, Stimuli, Turn

CONCEPTS = Path("data/concepts.yaml")

T = TypeVar("T")
Words = Annotated[tuple[Text, ...], Field(strict=False)]


class Population(StimuliFile):
    """The file. unheard: those of the concepts that the organisms have never read. phrasings: without a concept."""

    source: Text
    categories: dict[str, Words]
    unheard: Words
    phrasings: Words

    @property
    def concepts(self) -> tuple[str, ...]:
        """All concepts, category by category."""
        return tuple(concept for category in self.categories.values() for concept in category)

    def few(self, count: int | None) -> Population:
        """The same with so many of its concepts, at even distances; None: all of them."""
        if count is None:
            return self
        kept = {*spread(self.concepts, count)}
        categories = {name: tuple(word for word in words if word in kept) for name, words in self.categories.items()}
        unheard = tuple(concept for concept in self.unheard if concept in kept)
        return self.model_copy(update={"categories": categories, "unheard": unheard})

    def requests(self, stimuli: Stimuli) -> list[Conversation]:
        """The requests without a concept as conversations, the one of concept vectors' negative side first."""
        anything = stimuli.concept_prompt(stimuli.anything)
        *before, _ = anything
        return [anything, *((*before, Turn(role="user", content=each)) for each in self.phrasings)]

    @model_validator(mode="after")
    def _names_are_ours_to_give(self) -> Population:
        names.check_concepts(self.concepts)
        if strange := sorted({*self.unheard} - {*self.concepts}):
            raise ValueError(f"unheard names {strange[0]!r}, which is in no category")
        return self


def load_population(path: Path = CONCEPTS) -> Population:
    """The file's content. Raises StimuliError as `Stimuli` does."""
    return read_yaml(path, Population, StimuliError)


def spread(values: Sequence[T], count: int) -> list[T]:
    """So many of the values at even distances, from the first on, or all where there are no more."""
    return list(values) if count >= len(values) else [values[place * len(values) // count] for place in range(count)]
