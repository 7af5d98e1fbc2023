"""Directions made of concepts' vectors: what concepts share, what is left of each without that, and each reversed.

Pure functions of vectors. A vector is a unit direction of shape (hidden,) for each of its blocks; so is what is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from introspection import names
from introspection.injection.matched import coherent_vectors
from introspection.injection.vectors import Float

Vector = Mapping[int, Float]


def companions(concepts: Mapping[str, Vector], random_directions: int, seed: int) -> dict[str, Vector]:
    """Every direction of `names.companion_names`, by name.

    The mean that belongs to a concept is that of the others: with the four concepts of the default study, of three. A
    concept has no part in what it is compared with.
    """
    some = next(iter(concepts.values()))
    hidden = len(next(iter(some.values())))
    made: dict[str, Vector] = dict(coherent_vectors(list(some), hidden, random_directions, seed))
    for name, vector in concepts.items():
        made[names.derived("negated", name)] = negated(vector)
        if len(concepts) > 1:
            shared = mean_direction(other for key, other in concepts.items() if key != name)
            made[names.derived("shared", name)] = shared
            made[names.derived("centred", name)] = centred(vector, shared)
    return made


def mean_direction(vectors: Iterable[Vector]) -> Vector:
    """The mean of vectors at each block, a unit vector again. Raises ValueError where they cancel out."""
    all_of_them = list(vectors)
    return {
        block: _unit(np.sum([_precise(each[block]) for each in all_of_them], axis=0), block) for block in all_of_them[0]
    }


def centred(vector: Vector, shared: Vector) -> Vector:
    """A vector less its part along another at each block, a unit vector again. Raises ValueError where that is all."""
    left = {}
    for block, direction in vector.items():
        own, along = _precise(direction), _precise(shared[block])
        left[block] = _unit(own - (own @ along) / (along @ along) * along, block)
    return left


def negated(vector: Vector) -> Vector:
    """A vector reversed at each block."""
    return {block: -direction for block, direction in vector.items()}


def mean_cosine(vector: Vector, other: Vector, layers: tuple[int, int]) -> float:
    """The cosine of two vectors, mean over an inclusive range of blocks."""
    first, last = layers
    cosines = [_precise(vector[block]) @ _precise(other[block]) for block in range(first, last + 1)]
    return float(np.clip(np.mean(cosines), -1, 1))  # of float32 unit vectors, which rounding leaves a little longer


_NOTHING = 1e-5  # of a unit vector: what rounding in float32 leaves of one that is not there


def _precise(direction: Float) -> np.ndarray:
    return np.asarray(direction, dtype=np.float64)


def _unit(direction: np.ndarray, block: int) -> Float:
    norm = np.linalg.norm(direction)
    if norm < _NOTHING:
        raise ValueError(f"block {block}: nothing is left to point in a direction; are these vectors all the same?")
    return np.asarray(direction / norm, dtype=np.float32)
