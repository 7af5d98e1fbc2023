"""The prompts token by token: stretches of tokens that are steered, and of tokens that are not."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import pandas as pd


@dataclass(frozen=True)
class Stretch:
    """Tokens that follow each other, all of them steered or none."""

    steered: bool
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class Passage:
    """What a model reads under a prompt."""

    prompt: str
    stretches: tuple[Stretch, ...]

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return sum(len(each.tokens) for each in self.stretches)

    @property
    def steered(self) -> int:
        """How many of them are steered."""
        return sum(len(each.tokens) for each in self.stretches if each.steered)


def passages(rows: pd.DataFrame) -> list[Passage]:
    """The passages of a `prompt_text.csv`, in its order."""
    found = []
    for prompt, part in rows.groupby("prompt", sort=False):
        pairs = zip(part["steered"], part["token"], strict=True)
        stretches = [
            Stretch(bool(steered), tuple(str(token) for _, token in tokens))
            for steered, tokens in groupby(pairs, key=lambda pair: bool(pair[0]))
        ]
        found.append(Passage(str(prompt), tuple(stretches)))
    return found
