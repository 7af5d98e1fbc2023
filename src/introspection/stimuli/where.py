"""Where was it injected? Texts, the places of their parts and the questions that ask for one by a letter, as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from introspection.stimuli.files import StimuliFile, Text

Order = Literal["forward", "reversed"]
ORDERS: tuple[Order, ...] = ("forward", "reversed")
Aim = Literal["injected", "abstract"]
"""What is asked for: the part that was injected into, or the most abstract one, which asks for no introspection."""
AIMS: tuple[Aim, ...] = ("injected", "abstract")


class WhereItem(NamedTuple):
    """A question: the text (from 0) that comes before it, its task, what it asks for, and the order of its options."""

    text: int
    task: str
    aim: Aim
    order: Order


class WhereTask(StimuliFile):
    """The places that a text's sentences are divided among, in words, and what is asked about them."""

    places: Annotated[list[Text], Field(min_length=2)]
    questions: dict[Aim, Text]

    @model_validator(mode="after")
    def _both_are_asked(self) -> WhereTask:
        if set(self.questions) != set(AIMS):
            raise ValueError(f"questions: ask for each of {', '.join(AIMS)}")
        return self


class Where(StimuliFile):
    """The file `where.yaml`."""

    source: Text
    introduction: Text
    texts: Annotated[list[Annotated[list[Text], Field(min_length=2)]], Field(min_length=2)]
    letters: Annotated[list[Text], Field(min_length=2)]
    template: Annotated[str, Field(pattern=r"(?s)\$QUESTION.*\$OPTIONS")]
    answer: Text
    tasks: Annotated[dict[str, WhereTask], Field(min_length=1)]

    @property
    def items(self) -> list[WhereItem]:
        """Every question of every task after every text, its options in each order."""
        return [
            WhereItem(text, task, aim, order)
            for text in range(len(self.texts))
            for task in self.tasks
            for aim in AIMS
            for order in ORDERS
        ]

    def text(self, number: int) -> str:
        """A text, its sentences in one paragraph."""
        return " ".join(self.texts[number])

    def passages(self, number: int, task: str) -> list[str]:
        """The parts of a text that a task divides it into."""
        return self.divided(self.texts[number], task)

    def divided(self, sentences: Sequence[str], task: str) -> list[str]:
        """The parts of any text that a task divides it into, with as many sentences each."""
        each = len(sentences) // len(self.tasks[task].places)
        return [" ".join(sentences[start : start + each]) for start in range(0, len(sentences), each)]

    def answers(self, item: WhereItem) -> list[str]:
        """The texts, one token each, that choose each place, in the order of the places."""
        letters = [f" {letter}" for letter in self.letters[: len(self.tasks[item.task].places)]]
        return letters if item.order == "forward" else letters[::-1]

    def question(self, item: WhereItem) -> str:
        """The turn that asks: the question and its options, each after its letter."""
        task = self.tasks[item.task]
        places = task.places if item.order == "forward" else task.places[::-1]
        return self.lettered(task.questions[item.aim], places)

    def lettered(self, question: str, places: Sequence[str]) -> str:
        """The turn that asks a question with these places to choose from, each after its letter."""
        options = "\n".join(f"{letter}: {place}" for letter, place in zip(self.letters, places, strict=False))
        return self.template.replace("$QUESTION", question).replace("$OPTIONS", options)

    @model_validator(mode="after")
    def _texts_are_divided(self) -> Where:
        for name, task in self.tasks.items():
            if len(task.places) > len(self.letters):
                raise ValueError(f"tasks.{name}: {len(task.places)} places and {len(self.letters)} letters for them")
            for number, sentences in enumerate(self.texts):
                if len(sentences) % len(task.places):
                    raise ValueError(
                        f"texts.{number}: {len(sentences)} sentences are not divided evenly among the "
                        f"{len(task.places)} places of {name}"
                    )
        return self
