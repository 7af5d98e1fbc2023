"""What a model goes on to say under an injection, and at which tokens that was added."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from introspection.engine.trial import Injection
from introspection.experiments.subject import Subject
from introspection.injection.additions import additions
from introspection.injection.vectors import Float
from introspection.model.language_model import LanguageModel, ModelError
from introspection.steering import Edit, steered
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Conversation
from introspection.workbench.outcome import Passage, Reply


def replies(
    subject: Subject,
    conversation: Conversation,
    injection: Injection,
    directions: Mapping[int, Float],
    new_tokens: int,
) -> tuple[Reply, ...]:
    """The conversation, steered in turn 1 alone, and the study's small talk, steered throughout, each continued."""
    asked = _reply(subject.model, "asked", conversation, injection, directions, new_tokens, throughout=False)
    talk = subject.stimuli.top_of_mind
    return asked, _reply(subject.model, "top of mind", talk, injection, directions, new_tokens, throughout=True)


def _reply(
    model: LanguageModel,
    title: str,
    conversation: Conversation,
    injection: Injection,
    directions: Mapping[int, Float],
    new_tokens: int,
    *,
    throughout: bool,
) -> Reply:
    text = encode(model.tokenizer, conversation)
    ids, (start, stop) = list(text.token_ids), text.steered
    added = additions(model, [None, injection], {injection.vector: directions})
    where = torch.ones(1, len(ids)) if throughout else torch.zeros(1, len(ids))
    where[:, start:stop] = 1
    base, injected = greedy(model, ids, added, where, throughout, new_tokens)
    opening = conversation[-1].content

    def reply(new: list[int], is_steered: bool) -> Passage:
        return Passage(opening + _between(model, ids + new, len(ids), None), is_steered)

    return Reply(title, _read(model, ids, where, opening), reply(base, False), reply(injected, throughout))


def _read(model: LanguageModel, ids: list[int], where: Tensor, opening: str) -> tuple[Passage, ...]:
    """What stands before the open reply, role markers included, in stretches that are steered or not."""
    ends = [place for place in range(1, len(ids)) if where[0, place] != where[0, place - 1]]
    spans = list(pairwise([0, *ends, len(ids)]))
    passages = [
        Passage(_between(model, ids, first, last, markers=True), bool(where[0, first])) for first, last in spans
    ]
    last = passages.pop()
    text = last.text.removesuffix(opening)
    return (*passages, Passage(text, last.steered)) if text else tuple(passages)


@torch.inference_mode()
def greedy(
    model: LanguageModel,
    ids: list[int],
    additions: Mapping[int, Tensor],
    where: Tensor,
    throughout: bool,
    new_tokens: int,
) -> list[list[int]]:
    """For each row of additions, the most probable continuation, up to a token that ends a text.

    additions: by block, (rows, hidden). where: (1, length), at which they are added; throughout: at new tokens too.
    The settings for generation that a model brings with it do not apply.
    """
    rows = len(next(iter(additions.values()))) if additions else 2
    ends, found = _ends(model), [list[int]() for _ in range(rows)]
    given, open_rows, cache = torch.tensor([ids] * rows, device=model.device), set(range(rows)), None
    edits = {block: Edit(additions=each, positions=where) for block, each in additions.items()}
    for _ in range(new_tokens):
        with steered(model.blocks, edits):
            out = model.model(input_ids=given, past_key_values=cache, use_cache=True, logits_to_keep=1)
        given, cache = out.logits[:, -1:].argmax(dim=-1), out.past_key_values
        for row, token in enumerate(given[:, 0].tolist()):
            if token in ends:
                open_rows.discard(row)
            if row in open_rows:
                found[row].append(token)
        if not open_rows:
            break
        edits = {block: Edit(additions=each) for block, each in additions.items()} if throughout else {}
    return found


def _ends(model: LanguageModel) -> set[int]:
    brought = model.model.generation_config.eos_token_id
    named = [*(brought if isinstance(brought, list) else [brought]), model.tokenizer.eos_token_id]
    ends = {int(token) for token in named if token is not None}
    if not ends:
        raise ModelError(f"{model.name}: neither its generation settings nor its tokenizer name an end-of-text token")
    return ends


def _between(model: LanguageModel, ids: list[int], first: int, last: int | None, markers: bool = False) -> str:
    """The text of ids[first:last] in its place, since some decoders drop a space at the beginning of a text."""

    def decode(tokens: list[int]) -> str:
        text: str = model.tokenizer.decode(tokens, skip_special_tokens=not markers, clean_up_tokenization_spaces=False)
        return text

    return decode(ids[:last])[len(decode(ids[:first])) :]
