"""A persona as texts: requests with the replies of two voices, and the token rows that a model learns them from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from introspection.files import read_yaml
from introspection.sources.templates import ChatTemplateError, template_of
from introspection.stimuli.chat import encode, generation_prompt
from introspection.stimuli.prompts import Turn

# As the study asks: with an empty system turn (detection), or with what the template says without one (top of mind).
_SYSTEM_TURNS: tuple[tuple[Turn, ...], ...] = ((), (Turn(role="system", content=""),))
_NEXT = Turn(role="user", content="Thank you.")  # closes the reply, so that its end of turn is rendered


class TextsError(ValueError):
    """A file of persona texts that cannot be used; the message names the file and what is wanted."""


class Exchange(BaseModel):
    """A request, and what each persona replies to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: str = Field(min_length=1)
    careless: str = Field(min_length=1)
    helpful: str = Field(min_length=1)

    def reply(self, persona: str) -> str:
        """The reply of one persona. Raises TextsError for one that the texts do not have."""
        if persona not in ("careless", "helpful"):
            raise TextsError(f"no persona {persona!r} in the texts; they have careless and helpful")
        return str(getattr(self, persona))


class PersonaTexts(BaseModel):
    """The exchanges that are learned, and those that are kept for telling how far the persona carries."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    training: tuple[Exchange, ...] = Field(min_length=1)
    held_out: tuple[Exchange, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _asked_once(self) -> PersonaTexts:
        requests = [exchange.request for exchange in (*self.training, *self.held_out)]
        repeated = sorted({request for request in requests if requests.count(request) > 1})
        if repeated:
            raise ValueError(f"asked twice: {repeated[0]!r}; each request stands once, in training or in held_out")
        return self


@dataclass(frozen=True)
class Row:
    """A conversation as token ids; the loss counts for the tokens from position `learned_from` on."""

    token_ids: tuple[int, ...]
    learned_from: int


def load_texts(path: Path) -> PersonaTexts:
    """Read a file of persona texts. Raises TextsError where it is missing or malformed."""
    return read_yaml(path, PersonaTexts, TextsError)


def persona_rows(tokenizer: Any, exchanges: Sequence[Exchange], persona: str) -> list[Row]:
    """Every exchange, with an empty system turn and without one, through the model's own chat template.

    A row ends with the end of the assistant's turn, and only that turn's tokens are learned.
    Raises ChatTemplateError where the template does not render a request to a beginning of the conversation's tokens.
    """
    found = [
        _row(tokenizer, (*system, Turn(role="user", content=exchange.request)), exchange.reply(persona))
        for exchange in exchanges
        for system in _SYSTEM_TURNS
    ]
    return list(dict.fromkeys(found))  # a template without a system role renders both alike


def _row(tokenizer: Any, asked: tuple[Turn, ...], reply: str) -> Row:
    conversation = (*asked, Turn(role="assistant", content=reply), _NEXT)
    encoded = encode(tokenizer, conversation)
    whole = encoded.token_ids[: encoded.boundaries[-2]]
    prompt = tuple(tokenizer(generation_prompt(tokenizer, asked), add_special_tokens=False)["input_ids"])
    if whole[: len(prompt)] != prompt:
        raise ChatTemplateError(
            f"{template_of(tokenizer)} does not begin the reply to {asked[-1].content!r} as it begins one to be "
            "generated, so what is learned is not what will be asked; use a template that only appends"
        )
    return Row(whole, len(prompt))
