"""Which one? Questions with a numbered list of concepts in either turn, and the beginning of a reply that names one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from introspection.stimuli.files import StimuliFile, Text

Place = Literal["turn_1", "turn_2"]
"""In which turn the list stands: while the vector is injected, or after that."""

NUMBERS = tuple("0123456789")
"""What numbers the lines of a list, and is read as the answer: digits, each one token in nearly every vocabulary."""

_WITH_LIST = Field(pattern=r"\$LIST")


class Arm(StimuliFile):
    """What is asked after which turn 1, and in which turn the list stands."""

    prompt: Text
    list: Place
    question: Text


class Question(StimuliFile):
    """Turn 2 by the place of the list; None where the question is not asked with the list in turn 1."""

    turn_2: Annotated[str, _WITH_LIST]
    turn_1: Text | None = None


class Naming(StimuliFile):
    """The prompts under which a concept is named without a list, and how the reply begins."""

    prompts: Annotated[list[str], Field(min_length=1)]
    answer: Text


class WhichFile(StimuliFile):
    """The file `which.yaml`."""

    source: Text
    item: Annotated[str, Field(pattern=r"\$NUMBER.*\$WORD")]
    none: Text
    answer: Text
    turn_1: Annotated[str, _WITH_LIST]
    questions: Annotated[dict[str, Question], Field(min_length=1)]
    arms: Annotated[list[Arm], Field(min_length=1)]
    naming: Naming

    def numbered(self, words: Sequence[str]) -> str:
        """The list, a line for each word, numbered from 0."""
        lines = [self.item.replace("$NUMBER", n).replace("$WORD", w) for n, w in zip(NUMBERS, words, strict=False)]
        return "\n".join(lines)

    @model_validator(mode="after")
    def _arms_are_asked(self) -> WhichFile:
        for arm in self.arms:
            if arm.question not in self.questions:
                raise ValueError(f"arms: no question {arm.question!r}; there are {', '.join(self.questions)}")
            if arm.list == "turn_1" and self.questions[arm.question].turn_1 is None:
                raise ValueError(f"arms: {arm.question!r} has no wording for a list in turn_1")
        return self
