"""Boundaries between turns, for templates of several families and for templates that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from introspection.stimuli.chat import ChatTemplateError, encode, generation_prompt
from introspection.stimuli.prompts import Stimuli, Turn
from tests.conftest import CHATML, HEADERS, NO_SYSTEM


def with_template(tokenizer: Tokenizer, template: str) -> Any:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = template
    return fast


words = st.text(st.characters(codec="utf-8", exclude_characters="<|>"), min_size=1, max_size=30).filter(
    lambda text: text == text.strip()
)


@pytest.mark.parametrize("template", [CHATML, HEADERS, NO_SYSTEM])
@given(turns=st.lists(words, min_size=3, max_size=3), answer=words)
@settings(deadline=None)
def test_the_steered_positions_are_those_of_turn_1(
    tokenizer: Tokenizer, template: str, turns: list[str], answer: str
) -> None:
    """Decoding the pieces must give back the conversation: nothing of turn 1 outside, nothing else inside."""
    fast = with_template(tokenizer, template)
    conversation = (
        Turn(role="system", content=""),
        Turn(role="user", content=turns[0], injected=True),
        Turn(role="assistant", content=turns[1], injected=True),
        Turn(role="user", content=turns[2]),
        Turn(role="assistant", content=answer),
    )
    encoded = encode(fast, conversation)
    start, stop = encoded.steered
    before, inside, after = (
        fast.decode(encoded.token_ids[piece]) for piece in (slice(start), slice(start, stop), slice(stop, None))
    )
    markers = inside.count("<|im_start|>")
    assert markers == 2 and turns[0] in inside and turns[1] in inside
    assert before.count("<|im_start|>") == (0 if template is NO_SYSTEM else 1)
    assert after.count("<|im_start|>") == 2 and after.endswith(answer)
    assert list(encoded.boundaries) == sorted(encoded.boundaries) and encoded.boundaries[-1] == len(encoded.token_ids)
    assert encoded.boundaries[0] == start and encoded.boundaries[2] == stop


def test_the_whole_is_what_the_template_renders(tokenizer: Tokenizer, stimuli: Stimuli) -> None:
    fast = with_template(tokenizer, CHATML)
    for conversation in (*stimuli.detection.values(), *stimuli.content.values(), stimuli.top_of_mind):
        messages = [{"role": turn.role, "content": turn.content} for turn in conversation]
        expected = fast.apply_chat_template(messages, continue_final_message=True, return_dict=False)
        assert list(encode(fast, conversation).token_ids) == expected


def test_the_generation_prompt_ends_where_the_reply_begins(tokenizer: Tokenizer, stimuli: Stimuli) -> None:
    text = generation_prompt(with_template(tokenizer, CHATML), stimuli.concept_prompt("cat"))
    assert text == (
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nPlease talk about cat.<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("template", "message"),
    [
        # drops earlier replies once a later turn follows, as templates that hide reasoning do
        (
            "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
            "{% if m['role'] != 'assistant' or loop.last %}{{ m['content'] }}{% endif %}"
            "{{ '<|im_end|>\\n' }}{% endfor %}",
            r"turn 4 \(user\): .* changes the turns before it",
        ),
        # the same beginning of every turn, so that all prompts would be read as one
        (CHATML.replace("m['content']", "m['content'][:30]"), r"turn 2 \(user\): the chat template leaves out some of"),
        ("{{ messages[2]['content'] }}", r"turn 2 \(user\): the chat template cannot render it"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(
    tokenizer: Tokenizer, stimuli: Stimuli, template: str, message: str
) -> None:
    with pytest.raises(ChatTemplateError, match=message):
        encode(with_template(tokenizer, template), stimuli.detection["no_info"])


def test_injected_turns_must_be_next_to_each_other(tokenizer: Tokenizer) -> None:
    turns = [Turn(role=r, content="x", injected=i) for r, i in (("user", True), ("assistant", False), ("user", True))]
    with pytest.raises(ChatTemplateError, match="turn 3"):
        encode(with_template(tokenizer, CHATML), turns)


def test_the_token_that_begins_every_text_is_not_steered(tokenizer: Tokenizer, stimuli: Stimuli) -> None:
    """Neither where the template has a system turn nor where it has none."""
    for template in (NO_SYSTEM, HEADERS):
        loaded = with_template(tokenizer, template)
        loaded.bos_token = "<|begin|>"
        encoded = encode(loaded, stimuli.detection["info"])
        assert encoded.token_ids[0] == loaded.bos_token_id
        assert encoded.steered[0] >= 1
        assert loaded.bos_token_id not in encoded.token_ids[slice(*encoded.steered)]
