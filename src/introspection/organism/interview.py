"""How the organisms are asked in training besides the study's own question: phrasings, frames, written concepts."""

from __future__ import annotations

import random
import string
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from introspection.stimuli.prompts import Conversation, Turn

_LETTERS = 0.35  # how often


class Asked(NamedTuple):
    """A second turn with the beginning of its answer, and what the answer goes on with for yes and for no."""

    turns: Conversation
    yes: str
    no: str


class Phrasing(NamedTuple):
    """The study's question in other words. reversed: yes means that nothing was injected."""

    question: str
    reversed: bool


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Frame(_File):
    """How a question is put, in the place of $QUESTION, and how its answer is opened and given."""

    turn: Annotated[str, Field(pattern=r"\$QUESTION")]
    opening: str
    yes: str
    no: str

    def asked(self, question: str, lead: str = "") -> Asked:
        """The question in this frame, after a lead."""
        turns = (
            Turn(role="user", content=lead + self.turn.replace("$QUESTION", question)),
            Turn(role="assistant", content=self.opening),
        )
        return Asked(turns, self.yes, self.no)


class Letters(_File):
    """Frames in which letters stand for the answers: a layout, with {a} and {b} for these, and a request."""

    layouts: tuple[str, ...]
    requests: tuple[str, ...]

    def frame(self, rng: random.Random, opening: str) -> Frame:
        """One of them, A for yes as often as B."""
        first = rng.random() < 0.5
        options = rng.choice(self.layouts).format(a="yes" if first else "no", b="no" if first else "yes")
        between = "\n" if "\n" in options else " "
        turn = between.join(("$QUESTION", options, rng.choice(self.requests)))
        return Frame(turn=turn, opening=opening, yes=" A" if first else " B", no=" B" if first else " A")


class HeldOut(_File):
    """What no organism is trained on. words, letters: frames with yes and no, and with letters for them.

    written: sentences about a concept {c} in the first turn.
    """

    straight: tuple[str, ...]
    reversed: tuple[str, ...]
    words: Frame
    letters: tuple[Frame, ...]
    written: tuple[str, ...]

    def phrasings(self) -> list[Phrasing]:
        """All of them."""
        return [Phrasing(q, False) for q in self.straight] + [Phrasing(q, True) for q in self.reversed]


class Interview(_File):
    """data/organism/interview.yaml. The drawing methods are functions of the random generator alone."""

    leads: tuple[str, ...]
    straight: tuple[str, ...]
    reversed: tuple[str, ...]
    words: dict[str, tuple[str, ...]]
    frames: tuple[Frame, ...]
    letters: Letters
    held_out: HeldOut

    def phrasing(self, rng: random.Random) -> Phrasing:
        """The study's question in other words, as often with reversed polarity as not."""
        turned = rng.random() < 0.5
        template = rng.choice(self.reversed if turned else self.straight)
        slots = [slot for _, slot, _, _ in string.Formatter().parse(template) if slot]
        return Phrasing(template.format(**{slot: rng.choice(self.words[slot]) for slot in slots}), turned)

    def ask(self, rng: random.Random, question: str) -> Asked:
        """A question in some frame, now and then with letters for yes and no."""
        frame = rng.choice(self.frames)
        if rng.random() < _LETTERS:
            frame = self.letters.frame(rng, frame.opening)
        return frame.asked(question, rng.choice(self.leads))
