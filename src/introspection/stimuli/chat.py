"""A conversation as token ids, with the position at which each turn ends, through the model's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from introspection.sources.templates import ChatTemplateError, rendered, template_of
from introspection.stimuli.prompts import Turn


@dataclass(frozen=True)
class EncodedConversation:
    """Token ids of a conversation.

    boundaries: for each turn, the position after its last token (role markers and end-of-turn tokens included).
    steered: the (start, stop) positions of the injected turns; start == stop where no turn is injected.
    """

    token_ids: tuple[int, ...]
    boundaries: tuple[int, ...]
    steered: tuple[int, int]


def encode(tokenizer: Any, conversation: Sequence[Turn]) -> EncodedConversation:
    """Render turn by turn, as the study prefills turn by turn, and find where each turn ends.

    A last turn of the assistant is left open, so that the model continues it.
    Raises ChatTemplateError where the template does not render a beginning of the conversation to a beginning of its
    tokens, where it drops the open reply's words, or where the injected turns are not next to each other.
    """
    turns, template = _supported(tokenizer, conversation), template_of(tokenizer)
    encoded: list[int] = []
    dropped = len(conversation) - len(turns)
    boundaries: list[int] = []
    before = ""
    for end in range(1, len(turns) + 1):
        is_open = end == len(turns) and turns[-1].role == "assistant"
        text = _render(tokenizer, turns[:end], dropped, continue_final_message=is_open)
        if is_open and not text.endswith(turns[-1].content):
            raise ChatTemplateError(
                f"turn {dropped + end} (assistant): {template} does not end with the open reply "
                f"{turns[-1].content!r} but with {text[-len(turns[-1].content) :]!r}, so it takes no reply prefix"
            )
        ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        if ids[: len(encoded)] != encoded:
            raise ChatTemplateError(
                f"turn {dropped + end} ({turns[end - 1].role}): {template} changes the turns before it once "
                "this turn follows, so where a turn ends is not defined; use a template that only appends"
            )
        if (said := turns[end - 1].content.strip()) not in text[len(before) :]:
            raise ChatTemplateError(
                f"turn {dropped + end} ({turns[end - 1].role}): {template} leaves out some of {said[:40]!r}, so "
                "the model would not read what is asked; use one that renders every turn whole"
            )
        before, encoded = text, ids
        boundaries.append(len(ids))
    # the token that begins every text belongs to no turn: it stays with the turn that was dropped
    begins = bool(encoded) and encoded[0] == getattr(tokenizer, "bos_token_id", None)
    boundaries = [int(begins)] * dropped + boundaries
    return EncodedConversation(tuple(encoded), tuple(boundaries), _steered(conversation, boundaries))


def passage_spans(tokenizer: Any, conversation: Sequence[Turn], passages: Sequence[str]) -> list[tuple[int, int]]:
    """The (start, stop) positions, among the tokens of `encode`, of passages that the conversation has in this order.

    A token belongs to the passage in which it ends. Raises ChatTemplateError for a passage that is not there.
    """
    turns = _supported(tokenizer, conversation)
    is_open = turns[-1].role == "assistant"
    text = _render(tokenizer, turns, len(conversation) - len(turns), continue_final_message=is_open)
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    spans, stop = [], 0
    for passage in passages:
        start = text.find(passage, stop)
        stop = start + len(passage)
        inside = [position for position, (_, end) in enumerate(offsets) if 0 <= start < end <= stop]
        if not inside:
            raise ChatTemplateError(
                f"{template_of(tokenizer)} does not render {passage!r} as it is, so it has no tokens"
            )
        spans.append((inside[0], inside[-1] + 1))
    return spans


def generation_prompt(tokenizer: Any, conversation: Sequence[Turn]) -> str:
    """The conversation as text, up to where the assistant's reply begins."""
    turns = _supported(tokenizer, conversation)
    return _render(tokenizer, turns, len(conversation) - len(turns), add_generation_prompt=True)


def _steered(conversation: Sequence[Turn], boundaries: Sequence[int]) -> tuple[int, int]:
    injected = [index for index, turn in enumerate(conversation) if turn.injected]
    if not injected:
        return (0, 0)
    if injected != list(range(injected[0], injected[-1] + 1)):
        raise ChatTemplateError(f"turn {injected[-1] + 1}: the injected turns of a conversation must follow each other")
    return (boundaries[injected[0] - 1] if injected[0] else 0, boundaries[injected[-1]])


def _supported(tokenizer: Any, conversation: Sequence[Turn]) -> Sequence[Turn]:
    """The conversation, without an empty system turn where the template has no system role (Gemma)."""
    if conversation[0].role != "system" or conversation[0].content:
        return conversation
    try:
        rendered(tokenizer, _messages(conversation[:2]))
    except ChatTemplateError:
        return conversation[1:]
    return conversation


def _render(tokenizer: Any, turns: Sequence[Turn], dropped: int, **options: bool) -> str:
    try:
        return rendered(tokenizer, _messages(turns), **options)
    except ChatTemplateError as error:
        raise ChatTemplateError(f"turn {dropped + len(turns)} ({turns[-1].role}): {error}") from error


def _messages(turns: Sequence[Turn]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]
