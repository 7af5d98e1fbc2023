"""The search for the best layer range without measuring all of them: a grid, then the neighbourhood of its best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

Range = tuple[int, int]

_GRID_POINTS = 12  # per side, at the most; a grid of so many costs little beside all ranges of a deep model
_LEADERS = 3  # how many of the best are followed, so that one false summit does not end the search


def coarse_to_fine(
    blocks: int, measure: Callable[[Sequence[Range]], Mapping[Range, float]], earliest: int = 1
) -> dict[Range, float]:
    """Measure a grid of inclusive ranges, then what lies around the best of them in smaller and smaller steps.

    A step is kept as long as it finds something better, then halved; the search ends where no neighbour of the leaders
    is better. `measure` is given ranges that it has not been given before. Only ranges that start at `earliest` or
    later lead. Returns all measured ranges and their values.
    """
    step = max(2, math.ceil(blocks / _GRID_POINTS))
    points = sorted({*range(1, blocks, step), blocks - 1})
    values = dict(measure([(first, last) for first in points for last in points if first <= last]))
    while step > 1:
        step = max(1, step // 2)
        improved = True
        while improved:
            leading = leaders(values, earliest)
            around = [near for leader in leading for near in _neighbours(leader, step, blocks) if near not in values]
            if around:
                values.update(measure(list(dict.fromkeys(around))))
            improved = bool(around) and leaders(values, earliest)[:1] != leading[:1]
    return values


def leaders(values: Mapping[Range, float], earliest: int) -> list[Range]:
    """The best ranges that start late enough, the best first; among equals the shortest, then the first."""
    late_enough = [found for found in values if found[0] >= earliest]
    return sorted(late_enough, key=lambda found: (-values[found], found[1] - found[0], found[0]))[:_LEADERS]


def _neighbours(around: Range, step: int, blocks: int) -> list[Range]:
    steps = (-step, 0, step)
    near = [(around[0] + a, around[1] + b) for a in steps for b in steps]
    return [(first, last) for first, last in near if 1 <= first <= last < blocks]
