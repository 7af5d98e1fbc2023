"""Who is in the population: the names of every kind, and their directions."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from introspection import names
from introspection.engine.trial import Directions
from introspection.experiments.population.concepts import Population
from introspection.experiments.population.vectors import phrasing_count
from introspection.injection.derived import Vector, centred, mean_direction, negated
from introspection.injection.matched import coherent_vectors
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel

Members = Mapping[names.Kind, list[str]]


def members(population: Population, count: int, kinds: Collection[names.Kind] | None = None) -> Members:
    """The names of each of some kinds (None: all), `count` of each that is drawn, in the order of the tables."""
    drawn = {kind: names.numbered(kind, count) for kind in names.DRAWN}
    drawn["phrasing"] = drawn["phrasing"][: phrasing_count(population, count)]
    concepts = list(population.concepts)
    everyone: Members = {
        "concept": concepts,
        **drawn,
        "shared": [names.SHARED],
        **{kind: [names.derived(kind, concept) for concept in concepts] for kind in ("centred", "negated")},
    }
    return {kind: of_kind for kind, of_kind in everyone.items() if kinds is None or kind in kinds}


def population_directions(
    model: LanguageModel, population: Population, trained: Directions, count: int, seed: int
) -> tuple[Directions, Mapping[str, Vector]]:
    """The directions of every member, and for each the mean of concepts that it may be compared with.

    trained: what the model's states were needed for. That mean is of all concepts (the member `shared`), but of the
    others for a concept and for what is made of it: a concept has no part in what it is compared with.
    """
    concepts: dict[str, Vector] = {name: trained[name] for name in population.concepts}
    blocks = list(next(iter(concepts.values())))
    others = {name: mean_direction(v for key, v in concepts.items() if key != name) for name in concepts}
    made: dict[str, Vector] = {
        names.SHARED: mean_direction(concepts.values()),
        **{name: vector.directions for name, vector in random_vectors(model, count, seed)},
        **dict(coherent_vectors(blocks, model.hidden_size, count, seed)),
        **{names.derived("centred", name): centred(vector, others[name]) for name, vector in concepts.items()},
        **{names.derived("negated", name): negated(vector) for name, vector in concepts.items()},
    }
    means = dict.fromkeys([*trained, *made], made[names.SHARED])
    for name, mean in others.items():
        means |= dict.fromkeys((name, names.derived("centred", name), names.derived("negated", name)), mean)
    return {**trained, **made}, means
