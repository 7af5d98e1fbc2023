"""What is to be tried, and every reason why it cannot be, found before a weight is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from introspection.experiments.subject import Subject
from introspection.files import ResultError
from introspection.injection.dose import of_norm
from introspection.settings import OfNorm, Strength
from introspection.stimuli.prompts import Conversation, Turn

CALIBRATED = "calibrated"


class RequestError(ValueError):
    """Something that cannot be tried; one line: what was asked for, why not, and what can be."""


@dataclass(frozen=True)
class Request:
    """An injection, and what is asked after it. None takes what the model's study takes.

    concept: a word or a few, whose vector is trained; vector: a GGUF file in llama.cpp's or repeng's format; random: a
    seed of a direction that means nothing. One of the three. negated: the vector reversed.
    layers: an inclusive range of decoder blocks. strength: what the vector is multiplied with, or a rule for it.
    prompt: a key of the study's prompts. turn_1, turn_2: what the user says instead in either turn.
    questions: how many control questions of each right answer. new_tokens: how long replies may be; 0 asks for none.
    """

    concept: str | None = None
    vector: Path | None = None
    random: int | None = None
    negated: bool = False
    layers: tuple[int, int] | None = None
    strength: Strength | None = None
    prompt: str | None = None
    turn_1: str | None = None
    turn_2: str | None = None
    questions: int = 4
    new_tokens: int = 24

    def __post_init__(self) -> None:
        """Raise RequestError for what no model could do."""
        given = [name for name in ("concept", "vector", "random") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise RequestError(f"{found} given; give one of concept, vector (a GGUF file) and random")
        for name in ("concept", "turn_1", "turn_2"):
            text = getattr(self, name)
            if text is not None and not text.strip():
                raise RequestError(f"{name} {text!r} is empty; write some words")
        if self.layers is not None and not 1 <= self.layers[0] <= self.layers[1]:
            raise RequestError(f"layers {_range(self.layers)}: give FIRST:LAST with 1 <= FIRST <= LAST, such as 10:20")
        if isinstance(self.strength, float | int) and not math.isfinite(self.strength):
            raise RequestError(f"strength {self.strength} is not finite; give a number")
        for name in ("questions", "new_tokens"):
            if getattr(self, name) < 0:
                raise RequestError(f"{name} {getattr(self, name)}: give 0 or more")


def layers_of(text: str) -> tuple[int, int]:
    """`10:20` as an inclusive range of blocks, `10` as the one block. Raises RequestError."""
    first, colon, last = text.partition(":")
    try:
        return int(first), int(last if colon else first)
    except ValueError as error:
        raise RequestError(f"layers {text!r}: give FIRST:LAST, two numbers of decoder blocks, such as 10:20") from error


def strength_of(text: str) -> Strength:
    """`40`, `of_norm=0.3` or `calibrated` as a strength. Raises RequestError."""
    name, equals, fraction = text.partition("=")
    try:
        value = {name: float(fraction)} if equals else text if text == CALIBRATED else float(text)
        strength: Strength = TypeAdapter(Strength).validate_python(value)
    except (ValueError, ValidationError) as error:
        raise RequestError(
            f"strength {text!r}: give a number, of_norm=FRACTION (of the residual stream's norm) or {CALIBRATED}"
        ) from error
    return strength


def check(subject: Subject, request: Request) -> None:
    """Raise RequestError for what this model cannot do. Its weights are not needed."""
    layers, blocks = request.layers or subject.model_settings.layers, len(subject.model.blocks)
    allowed = f"give FIRST:LAST with 1 <= FIRST <= LAST <= {blocks - 1}"
    if request.layers is None and subject.key not in subject.settings.models:
        raise RequestError(
            f"layers: {subject.model_settings.source} is no model of params.yaml, so it has none; {allowed}"
        )
    if layers[1] >= blocks:
        raise RequestError(f"layers {_range(layers)}: {subject.model_settings.source} has {blocks} blocks; {allowed}")
    conversation_of(subject, request)
    if not isinstance(wanted_strength(subject, request), OfNorm):
        number_of(subject, request, None)


def conversation_of(subject: Subject, request: Request) -> Conversation:
    """The conversation: the study's under a prompt, with the user's turns replaced where the request has its own."""
    prompts, name = subject.stimuli.detection, request.prompt or subject.stimuli.control_prompt
    if name not in prompts:
        raise RequestError(f"prompt {name!r} is none of {', '.join(prompts)}; give one, or turn_1 with words of yours")
    own = iter((request.turn_1, request.turn_2))
    return tuple(_saying(turn, next(own)) if turn.role == "user" else turn for turn in prompts[name])


def wanted_strength(subject: Subject, request: Request) -> Strength:
    """The strength that the request or else the model's settings name, a number or a rule."""
    return subject.model_settings.strength if request.strength is None else request.strength


def number_of(subject: Subject, request: Request, norm: float | None) -> float:
    """The strength as a number. norm: the residual stream's mean over the layers, for a fraction of it."""
    strength = wanted_strength(subject, request)
    if isinstance(strength, OfNorm):
        if norm is None:
            raise RequestError(f"strength of_norm={strength.of_norm}: the residual stream's norm is not known")
        return of_norm(strength.of_norm, norm)
    if strength != CALIBRATED:
        return float(strength)
    try:
        return subject.questions.strength
    except ResultError as error:
        raise RequestError(
            f"strength {CALIBRATED}: nothing was calibrated for {subject.key}; give a number or of_norm=FRACTION, or "
            f"run `dvc repro injection@{subject.key}`"
        ) from error


def _saying(turn: Turn, text: str | None) -> Turn:
    return turn if text is None else turn.model_copy(update={"content": text})


def _range(layers: tuple[int, int]) -> str:
    return f"{layers[0]}:{layers[1]}"
