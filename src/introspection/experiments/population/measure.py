"""Would any vector do? The study's question under a population of directions, at equal norm and at equal effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from introspection import names
from introspection.engine.trial import Injection
from introspection.experiments.population.concepts import load_population, spread
from introspection.experiments.population.directions import Members, members, population_directions
from introspection.experiments.population.effect import Matched, match_effect
from introspection.experiments.population.tables import EFFECT, NORM, POPULATION
from introspection.experiments.population.vectors import VECTORS, load_directions
from introspection.experiments.subject import Run, Subject
from introspection.injection.answers import ask
from introspection.injection.cells import cells_of
from introspection.injection.derived import mean_cosine
from introspection.injection.divergence import divergences, steered_trials
from introspection.injection.vectors import text_trials
from introspection.stimuli.prompts import Conversation
from introspection.tables import Outputs, names_of


def trials(subject: Subject) -> list[Run]:
    """The neutral passages under every direction; again at each step towards equal effect; the question under all.

    The steps are priced as if no direction were there before the last of them.
    """
    everyone = _everyone(subject)
    at_norm = subject.questions.injections(_flat(everyone))
    at_effect = subject.questions.injections(_flat(_fewer(subject, everyone)))
    passages = text_trials(subject.model.tokenizer, _passages(subject))
    conversations = _conversations(subject)
    again = [replace(each, strength=2 * each.strength) for each in at_effect]  # whatever it will be, another
    cells = cells_of(list(conversations), [*at_norm, *again])
    return [
        Run(steered_trials(passages, at_norm)),
        *[Run(steered_trials(passages, at_effect))] * subject.settings.population.effect.steps,
        subject.run(conversations, cells),
    ]


def measure(subject: Subject) -> Outputs:
    """Every direction at the model's strength, and some of each kind at the concepts' median effect."""
    settings, model, batch = subject.settings.population, subject.model, subject.tokens_per_batch
    population, everyone = load_population().few(settings.concepts), _everyone(subject)
    trained = load_directions(VECTORS / f"{subject.key}.safetensors")
    directions, means = population_directions(model, population, trained, settings.directions, settings.seed)

    def effects(injections: Sequence[Injection]) -> list[float]:
        return divergences(model, _passages(subject), injections, directions, batch)

    at_norm = subject.questions.injections(_flat(everyone))
    matched = [Matched(each, kl, True) for each, kl in zip(at_norm, effects(at_norm), strict=True)]
    target = float(np.median([each.effect for each in matched[: len(everyone["concept"])]]))
    fewer = set(_flat(_fewer(subject, everyone)))
    measured = [(each.injection, each.effect) for each in matched if each.injection.vector in fewer]
    at_effect = match_effect(effects, measured, target, settings.effect)
    arms = [*((NORM, each) for each in matched), *((EFFECT, each) for each in at_effect)]
    answers = ask(
        model,
        subject.stimuli,
        _conversations(subject),
        [each.injection for _, each in arms],
        directions,
        tokens_per_batch=batch,
        progress="population",
    )
    layers = subject.questions.layers
    columns = [
        {
            "kind": names.kind_of(each.injection.vector),
            "matching": matching,
            "cosine": mean_cosine(directions[each.injection.vector], means[each.injection.vector], layers),
            "kl": each.effect,
            "reached": each.reached,
        }
        for matching, each in arms
        for _ in settings.prompts
    ]
    table = pd.concat([answers, pd.DataFrame(columns)], axis=1)
    return {POPULATION.name: POPULATION.of(table[names_of(POPULATION.columns)])}


def _everyone(subject: Subject) -> Members:
    drawn = subject.settings.population
    return members(load_population().few(drawn.concepts), drawn.directions, drawn.kinds)


def _fewer(subject: Subject, everyone: Members) -> Members:
    """Those of each kind that are matched in effect."""
    count = subject.settings.population.effect.directions
    return {kind: spread(of_kind, count) for kind, of_kind in everyone.items()}


def _flat(everyone: Members) -> list[str]:
    return [name for of_kind in everyone.values() for name in of_kind]


def _passages(subject: Subject) -> list[str]:
    return spread(subject.stimuli.neutral(), subject.settings.population.effect.passages)


def _conversations(subject: Subject) -> dict[str, Conversation]:
    """The prompts that are asked. Raises ValueError for one that is not there."""
    detection = subject.stimuli.detection
    if unknown := [prompt for prompt in subject.settings.population.prompts if prompt not in detection]:
        raise ValueError(
            f"population.prompts names {unknown[0]!r}; data/prompts/detection.yaml has {', '.join(detection)}"
        )
    return {prompt: detection[prompt] for prompt in subject.settings.population.prompts}
