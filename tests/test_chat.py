"""Boundaries between turns, for templates of several families and for templates that cannot be used."""

from __future__ import annotations

import os
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from introspection.sources.templates import ChatTemplateError
from introspection.stimuli.chat import encode, generation_prompt, passage_spans
from introspection.stimuli.prompts import Stimuli, Turn
from tests.small_models import CHATML, HEADERS, NO_SYSTEM


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


def spoken(*turns: tuple[str, str]) -> list[Turn]:
    return [Turn(role=role, content=content) for role, content in turns]


SPOKEN = spoken(("system", ""), ("user", "Say cat."), ("assistant", "Cat."), ("user", "Again?"), ("assistant", "Cat "))
UNUSABLE = [
    (  # drops earlier replies once a later turn follows, as templates that hide reasoning do
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
        "{% if m['role'] != 'assistant' or loop.last %}{{ m['content'] }}{% endif %}"
        "{{ '<|im_end|>\\n' }}{% endfor %}",
        SPOKEN,
        "turn 4 (user): the chat template changes the turns before it once this turn follows, so where a turn ends is "
        "not defined; use a template that only appends",
    ),
    (  # the same beginning of every turn, so that all prompts would be read as one
        CHATML.replace("m['content']", "m['content'][:3]"),
        spoken(("system", ""), ("user", "  Please say the word for " + 20 * "cat")),
        "turn 2 (user): the chat template leaves out some of 'Please say the word for catcatcatcatcatc', so the model "
        "would not read what is asked; use one that renders every turn whole",
    ),
    (  # says it once, for both of two turns
        "{% for m in messages %}{{ '<|im_start|>' }}{% if loop.first %}{{ m['content'] }}{% endif %}{% endfor %}",
        spoken(("user", "cat"), ("user", "cat")),
        "turn 2 (user): the chat template leaves out some of 'cat', so the model would not read what is asked; use one "
        "that renders every turn whole",
    ),
    (  # taken for one without a system turn, since it renders none
        "{{ messages[2]['content'] }}",
        SPOKEN,
        "turn 2 (user): the chat template cannot render it: list object has no element 2; mend the template, or "
        "give another model",
    ),
    (
        "{% for m in messages %}{% if m['role'] == 'user' and loop.index0 %}{{ raise_exception('once\\n  only') }}"
        "{% endif %}{{ m['content'] }}{% endfor %}",
        SPOKEN,
        "turn 4 (user): the chat template cannot render it: once only; mend the template, or give another model",
    ),
    (  # without a system turn the others keep their numbers
        NO_SYSTEM.replace("{% for", "{% if messages | length > 2 %}{{ raise_exception('no') }}{% endif %}{% for"),
        SPOKEN,
        "turn 4 (user): the chat template cannot render it: no; mend the template, or give another model",
    ),
    (
        HEADERS,
        SPOKEN,
        "turn 5 (assistant): the chat template does not end with the open reply 'Cat ' but with '\\nCat', so it takes "
        "no reply prefix",
    ),
    (
        NO_SYSTEM,
        SPOKEN,
        "turn 5 (assistant): the chat template does not end with the open reply 'Cat ' but with '\\nCat', so it takes "
        "no reply prefix",
    ),
]


@pytest.mark.parametrize(("template", "conversation", "message"), UNUSABLE)
def test_a_template_that_cannot_be_used_is_refused(
    tokenizer: Tokenizer, template: str, conversation: list[Turn], message: str
) -> None:
    with pytest.raises(ChatTemplateError) as error:
        encode(with_template(tokenizer, template), conversation)
    assert str(error.value) == message


def test_a_template_that_prints_the_date_is_given_the_same_one_always(tokenizer: Tokenizer) -> None:
    dated = with_template(tokenizer, "{{ date_string }}: {% for m in messages %}{{ m['content'] }}{% endfor %}")
    assert generation_prompt(dated, spoken(("user", "cat"))) == "26 Jul 2024: cat"


CLOCK = "{{ strftime_now('%S %H %d %Y %B') }}: {% for m in messages %}{{ m['content'] }}{% endfor %}"


@pytest.mark.parametrize("now", [datetime(2026, 10, 17, 8, 9, 10), datetime(1999, 1, 2, 23, 59, 58)])
def test_a_template_that_reads_the_clock_finds_the_same_time_always(
    tokenizer: Tokenizer, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template_utils, "datetime", SimpleNamespace(now=lambda: now))
    told = with_template(tokenizer, CLOCK)
    assert generation_prompt(told, spoken(("user", "cat"))) == "00 00 26 2024 July: cat"
    known = with_template(tokenizer, CLOCK.replace("{{", "{% if strftime_now is defined %}{{", 1) + "{% endif %}")
    assert generation_prompt(known, spoken(("user", "cat"))) == "00 00 26 2024 July: cat"


HOSTILE = [
    "cycler.__init__.__globals__.os.system('touch {file}')",
    "strftime_now.__globals__['__builtins__']['open']('{file}', 'w')",
    "raise_exception.__globals__.datetime.__init__.__globals__",
    "''.__class__.__mro__[1].__subclasses__()",
    "lipsum.__globals__['os'].popen('touch {file}').read()",
    "('{{0.__class__.__init__.__globals__}}').format(cycler)[0] | attr('x') + 1",
    "namespace(__init__=1)",
    "messages.append(messages)",
]


@pytest.mark.parametrize("expression", HOSTILE)
def test_a_hostile_template_reaches_nothing_and_is_named(
    tokenizer: Tokenizer, expression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[object] = []
    for name in ("system", "popen"):
        monkeypatch.setattr(os, name, ran.append)
    expression = expression.replace("{file}", str(tmp_path / "touched"))
    hostile = with_template(tokenizer, "{{ " + expression + " }}{% for m in messages %}{{ m['content'] }}{% endfor %}")
    hostile.name_or_path = "some/model"
    with pytest.raises(ChatTemplateError, match="the chat template of some/model cannot render it: ") as error:
        encode(hostile, SPOKEN)
    assert "\n" not in str(error.value)
    assert not ran and not any(tmp_path.iterdir())


def test_only_a_last_turn_of_the_assistant_is_open(tokenizer: Tokenizer) -> None:
    fast = with_template(tokenizer, CHATML)
    for end, ending in ((2, "Say cat.<|im_end|>\n"), (3, "Cat."), (4, "Again?<|im_end|>\n")):
        assert fast.decode(encode(fast, SPOKEN[:end]).token_ids).endswith(ending)


def test_an_empty_system_turn_is_left_out_where_the_template_has_none(tokenizer: Tokenizer) -> None:
    """And kept where it has one; one with words is refused by a template that has none."""
    conversation = spoken(("system", ""), ("user", "Say cat."))
    assert generation_prompt(with_template(tokenizer, NO_SYSTEM), conversation).count("<|im_start|>") == 2
    assert generation_prompt(with_template(tokenizer, CHATML), conversation).count("<|im_start|>") == 3
    with pytest.raises(ChatTemplateError, match=r"turn 2 \(user\): .*: System role not supported"):
        generation_prompt(with_template(tokenizer, NO_SYSTEM), spoken(("system", "Be kind."), ("user", "Say cat.")))
    assert encode(with_template(tokenizer, NO_SYSTEM), conversation).boundaries[0] == 0


def test_without_an_injected_turn_nothing_is_steered(tokenizer: Tokenizer) -> None:
    assert encode(with_template(tokenizer, CHATML), SPOKEN[:4]).steered == (0, 0)


def test_an_injected_first_turn_begins_with_the_text(tokenizer: Tokenizer) -> None:
    first, second = spoken(("user", "Say cat."), ("assistant", "Cat."))
    encoded = encode(with_template(tokenizer, CHATML), [first.model_copy(update={"injected": True}), second])
    assert encoded.steered == (0, encoded.boundaries[0])


# Passages.


@pytest.mark.parametrize("template", [CHATML, HEADERS])
def test_passages_are_found_in_their_order(tokenizer: Tokenizer, template: str) -> None:
    fast = with_template(tokenizer, template)
    conversation = spoken(("user", "A cat. A dog. A cat. The end."), ("assistant", "A cat."))
    asked = ["A cat.", " A dog.", " A cat.", "end.", "A cat."]
    spans, ids = passage_spans(fast, conversation, asked), encode(fast, conversation).token_ids
    assert [fast.decode(ids[start:stop]).strip() for start, stop in spans] == [each.strip() for each in asked]
    assert all(left[1] <= right[0] for left, right in pairwise(spans))
    assert spans[-1][1] == len(ids)


def test_a_token_belongs_to_the_passage_in_which_it_ends() -> None:
    """Texts cut within words: the token across the cut is the second's, and each is in one passage alone."""
    plain = Tokenizer(models.WordLevel({"ab": 0, "cd": 1, "ef": 2, "?": 3}, unk_token="?"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = with_template(plain, "{% for m in messages %}{{ m['content'] }}{% endfor %}")
    assert passage_spans(fast, spoken(("user", "ab cd ef")), ["ab c", "d ef"]) == [(0, 1), (1, 3)]


@pytest.mark.parametrize("passages", [["A dog.", "A cat."], ["A bird."], ["A cat.", "A cat."], [""]])
def test_a_passage_that_is_not_there_is_refused(tokenizer: Tokenizer, passages: list[str]) -> None:
    with pytest.raises(ChatTemplateError) as error:
        passage_spans(with_template(tokenizer, CHATML), spoken(("user", "A cat. A dog.")), passages)
    assert str(error.value) == f"the chat template does not render {passages[-1]!r} as it is, so it has no tokens"


def test_passages_after_a_system_turn_that_was_left_out_are_those_of_the_tokens(tokenizer: Tokenizer) -> None:
    fast = with_template(tokenizer, NO_SYSTEM)
    conversation = spoken(("system", ""), ("user", "A cat."), ("assistant", "A dog."))
    ((start, stop),) = passage_spans(fast, conversation, ["A cat."])
    assert fast.decode(encode(fast, conversation).token_ids[start:stop]) == "A cat."


def test_the_template_alone_writes_what_begins_a_text(tokenizer: Tokenizer) -> None:
    """Not the tokenizer, which would begin it a second time."""
    plain, begun = (with_template(Tokenizer.from_str(tokenizer.to_str()), CHATML) for _ in range(2))
    first = begun.convert_ids_to_tokens(3)
    begun.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A", special_tokens=[(first, 3)]
    )
    conversation = spoken(("user", "A cat."), ("assistant", "A dog."))
    assert begun("A cat.")["input_ids"][0] == 3
    assert encode(begun, conversation) == encode(plain, conversation)
    asked = ["A cat.", "A dog."]
    assert passage_spans(begun, conversation, asked) == passage_spans(plain, conversation, asked)


def test_a_template_is_told_by_the_folder_that_it_is_from(tokenizer: Tokenizer) -> None:
    fast = with_template(tokenizer, "{{ messages[-1]['content'] }}")
    fast.name_or_path = "models/mine"
    with pytest.raises(
        ChatTemplateError, match=r"^turn 2 \(assistant\): the chat template of models/mine changes the turns"
    ):
        encode(fast, spoken(("user", "A cat."), ("assistant", "A dog.")))
    with pytest.raises(ChatTemplateError, match=r"^the chat template of models/mine does not render 'A cat'"):
        passage_spans(fast, spoken(("user", "A dog.")), ["A cat"])


def test_the_turn_is_told_that_a_template_cannot_render(tokenizer: Tokenizer) -> None:
    fast = with_template(tokenizer, "{{ raise_exception('no') }}")
    turns = [("user", "A cat."), ("assistant", "A dog.")]
    for dropped in (0, 1):  # an empty system turn, which is left out and counts
        with pytest.raises(ChatTemplateError, match=rf"^turn {2 + dropped} \(assistant\): .*no"):
            passage_spans(fast, spoken(*[("system", "")] * dropped, *turns), ["A cat."])


def test_injected_turns_must_be_next_to_each_other(tokenizer: Tokenizer) -> None:
    turns = [Turn(role=r, content="x", injected=i) for r, i in (("user", True), ("assistant", False), ("user", True))]
    with pytest.raises(ChatTemplateError) as error:
        encode(with_template(tokenizer, CHATML), turns)
    assert str(error.value) == "turn 3: the injected turns of a conversation must follow each other"
    turns += [Turn(role="assistant", content="x"), Turn(role="user", content="x", injected=True)]
    with pytest.raises(ChatTemplateError, match=r"^turn 5: "):
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
