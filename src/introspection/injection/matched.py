"""Directions that stand for no concept, drawn to match concepts' vectors in one respect each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from introspection import names
from introspection.injection.vectors import Float


def chance(seed: int, kind: names.Kind) -> np.random.Generator:
    """The numbers that a kind of direction is drawn with: each kind has its own, whatever else is drawn."""
    return np.random.default_rng([seed, *kind.encode()])


def coherent_vectors(
    blocks: Sequence[int], hidden: int, count: int, seed: int
) -> Iterator[tuple[str, Mapping[int, Float]]]:
    """Uniform on the unit sphere, and the same at all blocks: what blocks add up is as large as for a concept."""
    generator = chance(seed, "coherent")
    for name in names.numbered("coherent", count):
        direction = _unit(generator.standard_normal(hidden))
        yield name, dict.fromkeys(blocks, direction)


def covariance_vectors(states: Mapping[int, Float], count: int, seed: int) -> Iterator[tuple[str, Mapping[int, Float]]]:
    """Gaussian with the covariance of a model's states, over all blocks together, then a unit vector at each block.

    states: for each block, (texts, hidden), the same texts at each. A draw weighs the texts' deviations from their mean
    with standard normal numbers, one for each text: that has the sample covariance without it being computed.
    """
    texts = len(next(iter(states.values())))
    centre = {block: rows.mean(axis=0, dtype=np.float64) for block, rows in states.items()}
    weights = chance(seed, "covariance").standard_normal((count, texts))
    for name, own in zip(names.numbered("covariance", count), weights, strict=True):
        yield name, {block: _unit(weighted(own, rows, centre[block])) for block, rows in states.items()}


def weighted(weights: np.ndarray, rows: Float, centre: np.ndarray) -> np.ndarray:
    """A draw with the sample covariance of `rows`, (texts, hidden), from standard normal weights, (texts,)."""
    drawn: np.ndarray = (weights @ rows - weights.sum() * centre) / np.sqrt(len(rows) - 1)
    return drawn


def _unit(direction: np.ndarray) -> Float:
    return np.asarray(direction / np.linalg.norm(direction), dtype=np.float32)
