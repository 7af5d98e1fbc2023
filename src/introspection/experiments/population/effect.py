"""Equal effect: the strength at which each direction moves something as far as asked, by bisection, all at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from introspection.engine.trial import Injection
from introspection.settings import EffectSettings

Effects = Callable[[Sequence[Injection]], Sequence[float]]


@dataclass(frozen=True)
class Matched:
    """An injection at the strength that was found, its effect there, and whether that is as large as asked."""

    injection: Injection
    effect: float
    reached: bool


def match_effect(
    effects: Effects, injections: Sequence[Injection], target: float, settings: EffectSettings
) -> list[Matched]:
    """Each injection at a strength whose effect is `target`, within `tolerance` of it.

    The strength is bisected on a logarithmic scale, between the given one divided by `strongest` and times it, in at
    most `steps` steps, each of which measures all injections that are not there yet together. One that has less effect
    even at the upper end, or that the steps do not bring there, is left where it is and marked.
    """
    at_most = [replace(each, strength=each.strength * settings.strongest) for each in injections]
    found = [
        Matched(each, effect, _near(effect, target, settings))
        for each, effect in zip(at_most, effects(at_most), strict=True)
    ]
    lower = [each.strength / settings.strongest for each in injections]
    upper = [each.strength for each in at_most]
    open_ends = [index for index, each in enumerate(found) if each.effect > target and not each.reached]
    for _ in range(settings.steps):
        if not open_ends:
            break
        middle = [replace(injections[index], strength=math.sqrt(lower[index] * upper[index])) for index in open_ends]
        for index, injection, effect in zip(open_ends, middle, effects(middle), strict=True):
            found[index] = Matched(injection, effect, _near(effect, target, settings))
            (upper if effect > target else lower)[index] = injection.strength
        open_ends = [index for index in open_ends if not found[index].reached]
    return found


def _near(effect: float, target: float, settings: EffectSettings) -> bool:
    return abs(effect - target) <= settings.tolerance * target
