"""The battery as data: the study's question in many wordings, each with its reversal, and control questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from introspection.stimuli.files import StimuliFile, Text

Kind = Literal["words", "letters"]
Expected = Literal["yes", "no", "open"]

KINDS: tuple[Kind, ...] = ("words", "letters")
DETECTION = "detection"
CONTROLS: dict[Expected, str] = {"yes": "control_yes", "no": "control_no", "open": "control_open"}
"""The groups of control questions, by their right answer; an open question has none."""


class Answers(NamedTuple):
    """The two texts, one token each, that mean yes and no to a question as it is put."""

    yes: str
    no: str


class BatteryItem(NamedTuple):
    """A question in one of its formats.

    polarity: 1 where yes means that something was injected, -1 where it means that nothing was. pair: the number of a
    wording and its reversal. Both are None for a control question.
    """

    text: str
    group: str
    format: str
    polarity: int | None = None
    pair: int | None = None


class AnswerFormat(StimuliFile):
    """How a question is put, and what is read as its two answers."""

    kind: Kind
    template: Annotated[str, Field(pattern=r"\$QUESTION")]
    yes: Text
    no: Text

    @property
    def answers(self) -> Answers:
        """What means yes, and what means no."""
        return Answers(self.yes, self.no)


class Pair(StimuliFile):
    """A wording whose yes means that something was injected, and its reversal, whose yes means that nothing was."""

    something: Text
    nothing: Text


class Pairs(StimuliFile):
    """Pairs of wordings, each of which is asked in all of these formats, one of each kind."""

    formats: Annotated[list[str], Field(min_length=1)]
    pairs: Annotated[list[Pair], Field(min_length=1)]


class Questions(StimuliFile):
    """Control questions, each of which is asked in all of these formats, one of each kind."""

    formats: Annotated[list[str], Field(min_length=1)]
    questions: Annotated[list[Text], Field(min_length=1)]


class Battery(StimuliFile):
    """The file `battery.yaml`."""

    source: Text
    prompts: Annotated[list[str], Field(min_length=1)]
    answer: Text
    formats: Annotated[dict[str, AnswerFormat], Field(min_length=1)]
    detection: list[Pairs]
    controls: dict[Expected, list[Questions]]

    @property
    def items(self) -> tuple[BatteryItem, ...]:
        """Every question in each of its formats, detection first, in the order of the file."""
        return tuple(self._items())

    def of_kind(self, kind: Kind) -> list[str]:
        """The formats of a kind of answers."""
        return [name for name, each in self.formats.items() if each.kind == kind]

    def _items(self) -> Iterator[BatteryItem]:
        pairs = [(pair, part.formats) for part in self.detection for pair in part.pairs]
        for number, (pair, formats) in enumerate(pairs, start=1):
            for text, polarity in ((pair.something, 1), (pair.nothing, -1)):
                for name in formats:
                    yield BatteryItem(text, DETECTION, name, polarity, number)
        for expected, parts in self.controls.items():
            for questions in parts:
                for text in questions.questions:
                    for name in questions.formats:
                        yield BatteryItem(text, CONTROLS[expected], name)

    @model_validator(mode="after")
    def _formats_are_known(self) -> Battery:
        for item in self.items:
            if item.format not in self.formats:
                raise ValueError(f"{item.text!r} is asked in {item.format!r}, which is not one of the formats")
        for kind in KINDS:
            pairs = {frozenset(self.formats[name].answers) for name in self.of_kind(kind)}
            if len(pairs) > 1 or any(len(pair) == 1 for pair in pairs):
                raise ValueError(f"formats: those of {kind} have to be answered with the same two texts")
        return self

    @model_validator(mode="after")
    def _once_in_each_kind(self) -> Battery:
        asked = Counter((item.text, self.formats[item.format].kind) for item in self.items)
        for (text, kind), count in asked.items():
            if count > 1:  # the same question twice is no second unit of a bootstrap
                raise ValueError(f"{text!r} is asked twice in {kind}; ask it once, in one of the formats of {kind}")
        return self

    @model_validator(mode="after")
    def _counterbalanced(self) -> Battery:
        counts = Counter((item.group, item.format) for item in self.items)
        for kind in dict.fromkeys(each.kind for each in self.formats.values()):
            formats = self.of_kind(kind)
            for group in (DETECTION, *CONTROLS.values()):
                asked = [counts[group, name] for name in formats]
                if len(set(asked)) > 1:
                    found = ", ".join(f"{count} in {name}" for name, count in zip(formats, asked, strict=True))
                    raise ValueError(f"{group} questions: {found}; ask as many in each format of {kind}")
                if sum(asked) < (needed := 4 if group == DETECTION else 2):
                    raise ValueError(f"{group} questions: {sum(asked)} in {kind}; an interval needs at least {needed}")
        return self
