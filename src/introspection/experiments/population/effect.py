"""Equal effect: the strength at which each direction moves something as far as asked, sought for all at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from introspection.engine.trial import Injection
from introspection.settings import EffectSettings

Effects = Callable[[Sequence[Injection]], Sequence[float]]

_QUADRATIC = 2.0  # a divergence grows with the square of a small strength,
_SLOPES = (0.5, 4.0)  # and what is extrapolated is never taken to grow slower or faster than this
_LEAST = 1e-12  # an effect of zero has no logarithm


@dataclass(frozen=True)
class Matched:
    """An injection at the strength that was found, its effect there, and whether that is as large as asked."""

    injection: Injection
    effect: float
    reached: bool


def match_effect(
    effects: Effects, measured: Sequence[tuple[Injection, float]], target: float, settings: EffectSettings
) -> list[Matched]:
    """Each injection at a strength whose effect is `target`, within `tolerance` of it.

    measured: injections with their effect at the strength that they have. From there the strength is sought between it
    divided by `strongest` and times it, in at most `steps` steps, each of which measures all injections that are not
    there yet together. One that even an end of that range does not bring there, or that the steps do not, is left at
    the strength with the effect nearest to it, and marked.
    """
    searches = [_Search(injection, effect, target, settings) for injection, effect in measured]
    for _ in range(settings.steps):
        unfinished = [search for search in searches if search.next is not None]
        if not unfinished:
            break
        tried = [replace(each.injection, strength=each.next) for each in unfinished if each.next is not None]
        for search, effect in zip(unfinished, effects(tried), strict=True):
            search.take(effect)
    return [search.found for search in searches]


class _Search:
    """The root of log effect less log target over log strength: by the secant until two points enclose it, and from
    then on between these, by the Illinois rule of false position (Dowell and Jarratt 1971).

    next: the strength to be tried; None where nothing is left to try.
    """

    def __init__(self, injection: Injection, effect: float, target: float, settings: EffectSettings) -> None:
        self.injection = injection
        self._target, self._tolerance = target, settings.tolerance
        self._ends = (injection.strength / settings.strongest, injection.strength * settings.strongest)
        self._below: tuple[float, float] | None = None  # log strength, and log of effect over target
        self._above: tuple[float, float] | None = None
        self._last: tuple[float, float] | None = None
        self._nearest = math.inf
        self.next: float | None = injection.strength
        self.take(effect)

    def take(self, effect: float) -> None:
        """The effect at the strength that was to be tried."""
        assert self.next is not None
        strength, off = self.next, math.log(max(effect, _LEAST) / max(self._target, _LEAST))
        matched = Matched(
            replace(self.injection, strength=strength),
            effect,
            abs(effect - self._target) <= self._tolerance * self._target,
        )
        if abs(off) <= self._nearest:
            self.found, self._nearest = matched, abs(off)
        point = math.log(strength), off
        tried = None if matched.reached else self._within(math.exp(self._after(point)))
        self.next = None if tried == strength else tried
        self._last = point

    def _within(self, strength: float) -> float:
        low, high = self._ends
        return min(max(strength, low), high)

    def _after(self, point: tuple[float, float]) -> float:
        """The log strength where the effect is to be as asked, by the points until now."""
        here, off = point
        again = self._last is not None and (self._last[1] > 0) == (off > 0)  # on the same side as before
        if off > 0:
            self._above = point
            if again and self._below:
                self._below = self._below[0], self._below[1] / 2
        else:
            self._below = point
            if again and self._above:
                self._above = self._above[0], self._above[1] / 2
        if self._below and self._above:
            (low, under), (high, over) = self._below, self._above
            return low + (high - low) * under / (under - over)
        slope = _QUADRATIC
        if self._last is not None and self._last[0] != here:
            slope = min(max((off - self._last[1]) / (here - self._last[0]), _SLOPES[0]), _SLOPES[1])
        return here - off / slope
