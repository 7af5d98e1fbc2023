"""What a printed probability says: the interval that printing and bfloat16 together leave open, in exact arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

SIGNIFICAND_BITS = 8  # of a bfloat16, the leading one included


@dataclass(frozen=True)
class Interval:
    """Closed, `low` to `high`."""

    low: float
    high: float

    def __sub__(self, other: Interval) -> Interval:
        """All differences, the two taken as independent."""
        return Interval(self.low - other.high, self.high - other.low)

    def map(self, increasing: Callable[[float], float]) -> Interval:
        """The image under an increasing function."""
        return Interval(increasing(self.low), increasing(self.high))

    def overlaps(self, other: Interval) -> bool:
        """Whether some value lies in both."""
        return self.low <= other.high and other.low <= self.high


def logit(probability: float) -> float:
    """ln(p / (1 - p)) in nats; infinite at 0 and 1."""
    if probability in (0.0, 1.0):
        return math.copysign(math.inf, probability - 0.5)
    return math.log(probability) - math.log1p(-probability)


def sigmoid(log_odds: float) -> float:
    """The probability with these log-odds in nats."""
    return 1.0 / (1.0 + math.exp(-log_odds)) if log_odds >= 0 else 1.0 - sigmoid(-log_odds)


def printed_quantum(printed: str) -> Fraction:
    """The unit of the last printed place of a fraction: 1/100000 for `0.00150`."""
    exponent = Decimal(printed).as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"{printed!r} is not a finite number")
    return Fraction(10) ** exponent


def bfloat16_spacing(value: Fraction) -> Fraction:
    """The distance from a positive value to the next bfloat16 above it, for a value that is one."""
    exponent = math.floor(math.log2(value))
    exponent += (value >= Fraction(2) ** (exponent + 1)) - (value < Fraction(2) ** exponent)  # log2 is not exact
    return Fraction(2) ** (exponent - SIGNIFICAND_BITS + 1)


def round_to_bfloat16(value: Fraction) -> Fraction:
    """The nearest bfloat16 of the normal range, ties to the even significand."""
    if value <= 0:
        return -round_to_bfloat16(-value) if value else value
    spacing = bfloat16_spacing(value)
    return round(value / spacing) * spacing  # Python rounds half to even


def printed_bfloat16s(printed: str) -> list[Fraction]:
    """The bfloat16 numbers in (0, 1] that print as `printed`, in order; a tie may print either way.

    Empty where no such number does, as for `0.52368`: between 134/256 and 135/256 nothing is representable.
    """
    middle, half = Fraction(printed), printed_quantum(printed) / 2
    low, high = max(middle - half, Fraction(1, 10**12)), min(middle + half, Fraction(1))
    numbers, value = [], round_to_bfloat16(low)
    while value <= high:
        if value >= low:
            numbers.append(value)
        value += bfloat16_spacing(value)
    return numbers


def allowed_probability(printed: str) -> Interval:
    """The probabilities that round to a bfloat16 that prints as `printed`: both roundings undone.

    Assumes rounding to nearest both times and takes both ends in, since a tie may go either way. The softmax is taken
    as exact before it is rounded; PyTorch computes it in float32, which moves an end by parts in a million.
    Raises ValueError where no bfloat16 prints so.
    """
    numbers = printed_bfloat16s(printed)
    if not numbers:
        raise ValueError(f"no bfloat16 number prints as {printed}")
    first, last = numbers[0], numbers[-1]
    below = bfloat16_spacing(first)
    if first == Fraction(2) ** round(math.log2(first)):
        below /= 2  # numbers lie twice as close below a power of two
    return Interval(float(first - below / 2), float(min(last + bfloat16_spacing(last) / 2, Fraction(1))))
