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
    by_prompt: dict[str, list[tuple[bool, str]]] = {}  # pandas takes an empty text and a null character for one
    for prompt, steered, token in zip(rows["prompt"], rows["steered"], rows["token"], strict=True):
        by_prompt.setdefault(str(prompt), []).append((bool(steered), str(token)))
    found = []
    for prompt, pairs in by_prompt.items():
        runs = groupby(pairs, key=lambda pair: pair[0])
        stretches = (Stretch(steered, tuple(token for _, token in run)) for steered, run in runs)
        found.append(Passage(prompt, tuple(stretches)))
    return found
