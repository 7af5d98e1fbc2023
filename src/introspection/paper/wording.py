"""Numbers and lists as the report writes them, so that tables, figures and prose agree."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from introspection.paper.latex import Latex, escape

UNCHANGED = "does not change"
UNCHANGED_NATS = 0.05  # below which a shift of log-odds is none, whatever the probability does


def percent(probability: float) -> str:
    """A probability in percent with three decimals, as the post prints its own; what would show as zero is bounded."""
    if math.isnan(probability):
        return "–"
    if 0 < probability < 5e-6:
        return "<0.001%"
    if 1 - 5e-6 < probability < 1:
        return ">99.999%"
    return f"{100 * probability:.3f}%"


def plain_percent(probability: float) -> str:
    """A probability that someone chose, in percent with no more digits than it has."""
    return f"{100 * probability:g}%"


def share(fraction: float) -> str:
    """A share or a mean in percent with one decimal; what would show as none or all is bounded."""
    if 0 < fraction < 5e-4:
        return "<0.1%"
    if 1 - 5e-4 < fraction < 1:
        return ">99.9%"
    return f"{100 * fraction:.1f}%"


def points(difference: float) -> str:
    """A difference of two probabilities in percentage points, with its sign."""
    return "–" if math.isnan(difference) else _signed(100 * difference, 3)


def nats(shift: float) -> str:
    """A shift of log-odds in nats, with its sign."""
    return "–" if math.isnan(shift) else _signed(shift, 2)


def number(value: float) -> str:
    """A setting as a person would write it: 20, 0.25."""
    return f"{value:g}".replace("-", "−")


def direction(shift: float) -> str:
    """The verb for what becomes of an answer whose log-odds move by so many nats: rises, falls or does not change."""
    if abs(shift) < UNCHANGED_NATS:
        return UNCHANGED
    return "rises" if shift > 0 else "falls"


def layers(first: Any, last: Any) -> str:
    """An inclusive range of decoder blocks; a dash where nothing is injected (a missing value)."""
    return "–" if pd.isna(first) or pd.isna(last) else f"[{first}, {last}]"


def count(number: int) -> str:
    """A small number in words, as prose has it."""
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    return words[number] if number < len(words) else str(number)


def how_many(number: int) -> str:
    """As `count`, where the number stands for what is counted: `none`."""
    return count(number) if number else "none"


def listing(items: list[str]) -> Latex:
    """Items as `a, b and c`, each escaped."""
    escaped = [escape(item) for item in items]
    if len(escaped) < 2:
        return Latex("".join(escaped) or "none")
    return Latex(f"{', '.join(escaped[:-1])} and {escaped[-1]}")


def _signed(value: float, decimals: int) -> str:
    """A number with its sign, and no minus before a zero."""
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else "−") + text
