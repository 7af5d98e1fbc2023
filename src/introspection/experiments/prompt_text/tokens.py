"""The prompts as a tokenizer splits them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Conversation


def token_rows(tokenizer: Any, prompts: Mapping[str, Conversation]) -> pd.DataFrame:
    """The rows of `prompt_text.csv`: every token of every prompt, up to where the answer is read."""
    rows = []
    for prompt, conversation in prompts.items():
        encoded = encode(tokenizer, conversation)
        start, stop = encoded.steered
        for position, token in enumerate(token_texts(tokenizer, encoded.token_ids)):
            rows.append(
                {
                    "prompt": prompt,
                    "position": position,
                    "turn": bisect_right(encoded.boundaries, position),
                    "steered": start <= position < stop,
                    "token": token,
                }
            )
    return pd.DataFrame(rows)


def token_texts(tokenizer: Any, token_ids: Sequence[int]) -> list[str]:
    """What each token adds to a text: spaces stay, and a part of a character is U+FFFD."""
    before = tokenizer("a", add_special_tokens=False)["input_ids"]  # some decoders drop a space at the beginning

    def decode(tokens: Sequence[int]) -> str:
        text: str = tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    known = len(decode(before))
    return [decode([*before, token])[known:] for token in token_ids]
