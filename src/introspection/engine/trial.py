"""A row: tokens, the positions of turn 1, and what is injected where in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Directions = Mapping[str, Mapping[int, Any]]
"""By vector name and block, a direction of shape (hidden,): the `directions` of repeng's ControlVector."""


@dataclass(frozen=True, order=True)
class Injection:
    """A vector, by name, added with a strength after each decoder block of an inclusive range.

    positions: the tokens of the row at which it is added; None for all of turn 1.
    """

    vector: str
    strength: float
    first_layer: int
    last_layer: int
    positions: tuple[int, ...] | None = None

    def at(self, block: int) -> bool:
        """Whether anything is added after this block."""
        return self.strength != 0 and self.first_layer <= block <= self.last_layer


@dataclass(frozen=True)
class Trial:
    """One row: tokens, the positions (start, stop) of turn 1, and all that is injected there, at one place or several.

    Raises ValueError for an injection outside turn 1: what follows turn 1 is read from its cache.
    """

    token_ids: tuple[int, ...]
    turn_1: tuple[int, int] = (0, 0)
    injections: tuple[Injection, ...] = ()

    def __post_init__(self) -> None:
        start, stop = self.turn_1
        for injection in self.injections:
            outside = [position for position in injection.positions or () if not start <= position < stop]
            if outside:
                raise ValueError(f"{injection.vector} is injected at {outside[0]}, outside turn 1, [{start}, {stop})")

    @property
    def prefix(self) -> tuple[int, ...]:
        """The tokens up to the end of turn 1."""
        return self.token_ids[: self.turn_1[1]]
