"""The filler prompt in a model's own tokens: as the post wrote it, or cut or continued to the length of another prompt.

The stage `prompts` decides once for a model what it reads; all stages that ask it something read that (FilledStimuli).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from introspection.files import read_json, read_yaml
from introspection.settings import FillerLength
from introspection.stimuli.chat import encode
from introspection.stimuli.files import StimuliError, StimuliFile, Text
from introspection.stimuli.prompts import Conversation, Stimuli

FILLER = "filler.json"
_WORD = re.compile(r"\s*\S+")


@dataclass(frozen=True)
class Fitted:
    """A text that ends where a word ends. words: how many it has more than the text it was made of, or fewer."""

    text: str
    words: int


@dataclass(frozen=True)
class Filled:
    """What a model reads for filler.

    turns_1: the user's turn 1 by prompt, for prompts that are not read as written: the content of `filler.json`.
    tokens: the rows of `prompt_tokens.csv`.
    """

    turns_1: Mapping[str, str]
    tokens: pd.DataFrame


class FilledStimuli(Stimuli):
    """The prompts of a folder as one model reads them: its own turn 1 in some.

    turns_1: called when a prompt is asked for, gives the user's turn 1 by prompt, for prompts not read as written.
    """

    def __init__(self, folder: Path, turns_1: Callable[[], Mapping[str, str]]) -> None:
        super().__init__(folder)
        self._turns_1 = turns_1

    @classmethod
    def of_model(cls, folder: Path, results: Path) -> FilledStimuli:
        """As the stage `prompts` has written down for the model whose result files lie in `results`."""
        remedy = f"make it with `dvc repro prompts@{results.name}`"
        return cls(folder, lambda: read_json(results / FILLER, dict[str, str], remedy))

    @classmethod
    def planned(cls, stimuli: Stimuli, tokenizer: Any, length: FillerLength) -> FilledStimuli:
        """As the stage `prompts` will write down."""
        return cls(stimuli._folder, lambda: fill(stimuli._folder, tokenizer, length).turns_1)

    @cached_property
    def detection(self) -> dict[str, Conversation]:
        """By prompt name, as `Stimuli.detection`."""
        turns_1 = self._turns_1()
        return {name: _with(text, turns_1.get(name)) for name, text in super().detection.items()}


def fill(folder: Path, tokenizer: Any, length: FillerLength) -> Filled:
    """The filler prompt of `folder` in the tokens of a model, as written or of matched length.

    Raises StimuliError where `filler.yaml` names a prompt or a paragraph that `detection.yaml` has not.
    """
    stimuli, path = Stimuli(folder), folder / "filler.yaml"
    filler, prompts = read_yaml(path, _FillerFile, StimuliError), stimuli.detection
    for name in (filler.prompt, filler.like):
        if name not in prompts:
            raise StimuliError(f"{path}: no prompt {name!r} in detection.yaml; it has {', '.join(prompts)}")
    written = stimuli._detection.paragraphs.get(filler.paragraph)
    turn_1 = _turn_1(prompts[filler.prompt])
    if written is None or written not in turn_1:
        raise StimuliError(f"{path}: paragraph: {filler.paragraph!r} is none of the prompt {filler.prompt!r}")
    before, after = turn_1.split(written, 1)

    def tokens(text: str) -> int:
        return tokens_in_turn_1(tokenizer, _with(prompts[filler.prompt], before + text + after))

    target = tokens_in_turn_1(tokenizer, prompts[filler.like])
    matched = length == "matched"
    used = fit(written, filler.continuation, tokens, target) if matched else Fitted(written, 0)
    turns_1 = {filler.prompt: before + used.text + after} if used.words else {}
    rows = []
    for name, conversation in prompts.items():
        read = _with(conversation, turns_1.get(name))
        rows.append(
            {
                "prompt": name,
                "tokens_turn_1": tokens_in_turn_1(tokenizer, read),
                "tokens": len(encode(tokenizer, read).token_ids),
                "tokens_turn_1_as_written": tokens_in_turn_1(tokenizer, conversation),
                "words_changed": used.words if name == filler.prompt else 0,
                "matched_to": filler.like if matched and name == filler.prompt else "",
            }
        )
    return Filled(turns_1, pd.DataFrame(rows))


def fit(text: str, continuation: str, tokens: Callable[[str], int], target: int) -> Fitted:
    """Of the beginnings of `text` and `continuation` that end with a word, the one of nearest to `target` tokens.

    tokens: the count of tokens with such a beginning, which does not fall as it grows. Of two that are equally near,
    the shorter; at least one word.
    """
    pieces = _WORD.findall(f"{text} {continuation}")
    lengths = range(1, len(pieces) + 1)

    def count(words: int) -> int:
        return tokens("".join(pieces[:words]))

    below = bisect_right(lengths, target, key=count)  # so many beginnings have at most `target`
    words = min(
        (length for length in (below, below + 1) if length in lengths), key=lambda length: abs(count(length) - target)
    )
    return Fitted("".join(pieces[:words]), words - len(_WORD.findall(text)))


def tokens_in_turn_1(tokenizer: Any, conversation: Conversation) -> int:
    """How many tokens are steered."""
    start, stop = encode(tokenizer, conversation).steered
    return stop - start


def _turn_1(conversation: Conversation) -> str:
    """What the user says while the vector is injected."""
    return next(turn.content for turn in conversation if turn.injected)


def _with(conversation: Conversation, turn_1: str | None) -> Conversation:
    """The conversation with another text for what the user says while the vector is injected; None leaves it."""
    if turn_1 is None:
        return conversation
    place = next(place for place, turn in enumerate(conversation) if turn.injected)
    changed = conversation[place].model_copy(update={"content": turn_1})
    return (*conversation[:place], changed, *conversation[place + 1 :])


class _FillerFile(StimuliFile):
    source: Text
    prompt: Text
    paragraph: Text
    like: Text
    continuation: Text
