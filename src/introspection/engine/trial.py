"""A row: tokens, the positions of turn 1, and what is injected there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Directions = Mapping[str, Mapping[int, Any]]
"""By vector name and block, a direction of shape (hidden,): the `directions` of repeng's ControlVector."""


@dataclass(frozen=True, order=True)
class Injection:
    """A vector, by name, added with a strength after each decoder block of an inclusive range."""

    vector: str
    strength: float
    first_layer: int
    last_layer: int

    def at(self, block: int) -> bool:
        """Whether anything is added after this block."""
        return self.strength != 0 and self.first_layer <= block <= self.last_layer


@dataclass(frozen=True)
class Trial:
    """One row: tokens, the positions (start, stop) of turn 1, and what is injected there; None injects nothing."""

    token_ids: tuple[int, ...]
    turn_1: tuple[int, int] = (0, 0)
    injection: Injection | None = None

    @property
    def prefix(self) -> tuple[int, ...]:
        """The tokens up to the end of turn 1."""
        return self.token_ids[: self.turn_1[1]]
