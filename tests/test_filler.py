"""The filler prompt: as the post has it, or as near to the info prompt's length as words allow, in a model's tokens."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from introspection.experiments.prompts.tables import PROMPT_TOKENS
from introspection.files import ResultError, write_json
from introspection.injection.filler import FILLER, FilledStimuli, fill, fit, tokens_in_turn_1
from introspection.model.language_model import LanguageModel
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Stimuli, StimuliError, load_stimuli
from tests.conftest import ROOT

PROMPTS = ROOT / "data" / "prompts"
WRITTEN = load_stimuli(PROMPTS).detection
WORDS = st.text("abcdefghij,.", min_size=1, max_size=9)
TEXT = st.lists(WORDS, min_size=1, max_size=30).map(" ".join)


def pieces(text: str) -> int:
    """As a tokenizer with pieces of at most three letters would count them."""
    return sum(-(-len(word) // 3) for word in text.split())


@given(TEXT, TEXT, st.integers(0, 250))
def test_no_other_word_to_end_with_is_nearer(text: str, continuation: str, target: int) -> None:
    found = fit(text, continuation, pieces, target)
    words = f"{text} {continuation}".split()
    distances = [abs(pieces(" ".join(words[:count])) - target) for count in range(1, len(words) + 1)]
    assert abs(pieces(found.text) - target) == min(distances)
    assert f"{text} {continuation}".startswith(found.text)
    assert len(found.text.split()) == len(text.split()) + found.words
    if pieces(words[0]) <= target <= pieces(" ".join(words)):
        assert min(distances) <= max(map(pieces, words)) / 2  # nearer than the half of a word


@settings(max_examples=15)
@given(st.integers(30, 900))
def test_line_breaks_stay_where_they_are(target: int) -> None:
    paragraph = Stimuli(PROMPTS)._detection.paragraphs["lorem_ipsum"]
    found = fit(paragraph, "more\n\nof it", pieces, target)
    assert (paragraph + " more\n\nof it").startswith(found.text)
    assert not re.search(r"\s$", found.text)


def tokenizers() -> list[Path]:
    """Of the models at hand, those of the post's kind of conversation."""
    return [
        path for name in ("organism", "smollm2-135m") if (path := ROOT / "models" / name / "tokenizer.json").is_file()
    ]


@pytest.mark.parametrize("path", tokenizers(), ids=lambda path: path.parent.name)
def test_the_matched_prompt_is_within_a_word_of_the_info_prompt(path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(path.parent)
    filled = fill(PROMPTS, tokenizer, "matched")
    check_matched(tokenizer, filled.turns_1["lorem_ipsum"])
    rows = PROMPT_TOKENS.check(filled.tokens).set_index("prompt")
    assert list(rows.index) == list(WRITTEN)
    for name, conversation in WRITTEN.items():
        encoded = encode(tokenizer, conversation)
        assert rows["tokens_turn_1_as_written"][name] == encoded.steered[1] - encoded.steered[0]
        if name != "lorem_ipsum":
            assert rows["tokens"][name] == len(encoded.token_ids)
    longer = rows["tokens_turn_1_as_written"]["lorem_ipsum"] > rows["tokens_turn_1"]["info"]
    assert (rows["words_changed"]["lorem_ipsum"] < 0) == longer
    assert rows["matched_to"]["lorem_ipsum"] == "info" and rows["matched_to"]["info"] == ""


def test_any_tokenizer_will_do(any_model: LanguageModel) -> None:
    """Templates without a system role, headers of several tokens: turn 1 is what is steered."""
    turns_1 = fill(PROMPTS, any_model.tokenizer, "matched").turns_1
    check_matched(any_model.tokenizer, turns_1.get("lorem_ipsum", WRITTEN["lorem_ipsum"][1].content))


def check_matched(tokenizer: Any, turn_1: str) -> None:
    stimuli = FilledStimuli(PROMPTS, lambda: {"lorem_ipsum": turn_1})
    found, target = (tokens_in_turn_1(tokenizer, stimuli.detection[name]) for name in ("lorem_ipsum", "info"))
    longest = max(len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) for word in turn_1.split())
    assert abs(found - target) <= longest
    before, after = WRITTEN["lorem_ipsum"][1].content.split("Lorem ipsum dolor")[0], "\n\nA concept has been injected"
    assert turn_1.startswith(before + "Lorem ipsum dolor") and after in turn_1


def test_the_original_is_the_posts_own(qwen2: LanguageModel, tmp_path: Path) -> None:
    filled = fill(PROMPTS, qwen2.tokenizer, "original")
    assert filled.turns_1 == {}
    assert list(filled.tokens["words_changed"]) == [0] * len(WRITTEN)
    write_json(tmp_path / "tiny" / FILLER, filled.turns_1)
    assert FilledStimuli.of_model(PROMPTS, tmp_path / "tiny").detection == WRITTEN


def test_what_was_filled_is_what_is_asked(qwen2: LanguageModel, tmp_path: Path) -> None:
    filled = fill(PROMPTS, qwen2.tokenizer, "matched")
    write_json(tmp_path / "tiny" / FILLER, filled.turns_1)
    stimuli = FilledStimuli.of_model(PROMPTS, tmp_path / "tiny")
    lorem = stimuli.detection["lorem_ipsum"]
    assert lorem[1].content == filled.turns_1["lorem_ipsum"] != WRITTEN["lorem_ipsum"][1].content
    assert lorem[1].injected and lorem[:1] + lorem[2:] == WRITTEN["lorem_ipsum"][:1] + WRITTEN["lorem_ipsum"][2:]
    for name in ("no_info", "info", "inaccurate_location"):
        assert stimuli.detection[name] == WRITTEN[name]
    planned = FilledStimuli.planned(Stimuli(PROMPTS), qwen2.tokenizer, "matched")
    assert planned.detection == stimuli.detection
    with pytest.raises(ResultError, match=r"gone/filler\.json: .*dvc repro prompts@gone"):
        _ = FilledStimuli.of_model(PROMPTS, tmp_path / "gone").detection


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("prompt: lorem_ipsum", "prompt: ipsum", r"filler\.yaml: no prompt 'ipsum' in detection\.yaml; it has no_info"),
        ("like: info", "like: more", r"filler\.yaml: no prompt 'more'"),
        ("paragraph: lorem_ipsum", "paragraph: info", r"filler\.yaml: paragraph: 'info' is none of the prompt"),
    ],
)
def test_a_filler_that_fits_no_prompt_is_refused(
    qwen2: LanguageModel, tmp_path: Path, old: str, new: str, message: str
) -> None:
    shutil.copytree(PROMPTS, tmp_path / "prompts")
    path = tmp_path / "prompts" / "filler.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(StimuliError, match=message):
        fill(tmp_path / "prompts", qwen2.tokenizer, "matched")
