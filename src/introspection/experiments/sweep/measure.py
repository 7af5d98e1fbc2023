"""The layer sweep: every range of decoder blocks in which a vector can be injected, or a search among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd

from introspection.engine.run import run_trials
from introspection.engine.trial import Directions, Injection, Trial
from introspection.experiments.subject import Run, Subject
from introspection.experiments.sweep.choice import led_by
from introspection.experiments.sweep.search import Range, coarse_to_fine
from introspection.experiments.sweep.tables import SWEEP
from introspection.injection.cells import encode_all
from introspection.injection.dose import Guide
from introspection.model.language_model import LanguageModel
from introspection.model.readout import read_answers
from introspection.settings import SettingsError
from introspection.stimuli.chat import EncodedConversation
from introspection.stimuli.prompts import Conversation, Stimuli
from introspection.tables import Outputs

VALUES = ["p_yes", "log_odds_yes"]


def trials(subject: Subject) -> list[Run]:
    """Every range; for a search from coarse to fine, as many as to find the model's own range."""
    encoded = encode_all(subject.model.tokenizer, _prompts(subject))
    strengths = dict.fromkeys(subject.settings.sweep.concepts, subject.sweep.strength)
    blocks = len(subject.model.blocks)
    if subject.sweep.guide is None:
        return [Run(sweep_trials(encoded, strengths, layer_ranges(blocks)))]
    runs: list[Run] = []

    def near(ranges: Sequence[Range]) -> dict[Range, float]:
        runs.append(Run(sweep_trials(encoded, strengths, ranges)))
        return {(first, last): -abs(first - blocks // 3) - abs(last - 2 * blocks // 3) for first, last in ranges}

    coarse_to_fine(blocks, near)
    return runs


def measure(subject: Subject) -> Outputs:
    """The answers in every range, or in those that the search has measured."""
    concepts = list(subject.settings.sweep.concepts)
    table = sweep_layers(
        subject.model,
        subject.stimuli,
        _prompts(subject),
        dict.fromkeys(concepts, subject.sweep.strength),
        subject.directions(concepts),
        guide=subject.sweep.guide,
        tokens_per_batch=subject.tokens_per_batch,
        progress="sweep",
    )
    return {SWEEP.name: SWEEP.of(table)}


def _prompts(subject: Subject) -> dict[str, Conversation]:
    known = subject.stimuli.detection
    for prompt in subject.settings.sweep.prompts:
        if prompt not in known:
            raise SettingsError(f"params.yaml: sweep.prompts: found {prompt!r}; allowed: {', '.join(known)}")
    return {prompt: known[prompt] for prompt in subject.settings.sweep.prompts}


def layer_ranges(blocks: int) -> list[Range]:
    """All inclusive ranges [i, j] with 0 < i <= j < blocks, in that order: blocks (blocks - 1) / 2 of them."""
    return [(first, last) for first in range(1, blocks) for last in range(first, blocks)]


def sweep_layers(
    model: LanguageModel,
    stimuli: Stimuli,
    conversations: Mapping[str, Conversation],
    strengths: Mapping[str, float],
    directions: Directions,
    *,
    guide: Guide | None = None,
    tokens_per_batch: int | None = None,
    progress: str | None = None,
) -> pd.DataFrame:
    """The yes answer to every conversation with every vector injected in every range, all rows of the engine's trees.

    strengths: by vector name. guide: measure a grid of ranges and then the neighbourhood of the best, by the answer
    that it names, in place of every range. Returns vector, prompt, strength, first_layer, last_layer, p_yes,
    log_odds_yes.
    """
    encoded = encode_all(model.tokenizer, conversations)
    blocks = len(model.blocks)
    tables: list[pd.DataFrame] = []

    def measure(ranges: Sequence[Range]) -> pd.DataFrame:
        states = run_trials(
            model,
            sweep_trials(encoded, strengths, ranges),
            directions,
            layers=[blocks],
            tokens_per_batch=tokens_per_batch,
            progress=progress,
        )
        answers = read_answers(model, states[:, 0], stimuli.yes, stimuli.no)
        values = {name: answers[name].double().numpy() for name in VALUES}
        tables.append(sweep_keys(encoded, strengths, ranges).assign(**values))
        return tables[-1]

    if guide:
        coarse_to_fine(blocks, partial(led_by, guide, measure), math.ceil(guide.earliest_start * blocks))
    else:
        measure(layer_ranges(blocks))
    return _in_order(pd.concat(tables, ignore_index=True), list(strengths), list(encoded))


def sweep_trials(
    encoded: Mapping[str, EncodedConversation], strengths: Mapping[str, float], ranges: Sequence[Range]
) -> list[Trial]:
    """Every vector under every conversation in every range, in that order."""
    return [
        Trial(text.token_ids, text.steered, (Injection(vector, strength, first, last),))
        for vector, strength in strengths.items()
        for text in encoded.values()
        for first, last in ranges
    ]


def sweep_keys(
    encoded: Mapping[str, EncodedConversation], strengths: Mapping[str, float], ranges: Sequence[Range]
) -> pd.DataFrame:
    """The key columns of `sweep_trials`: vector, prompt, strength, first_layer, last_layer."""
    keys = [
        (vector, key, strength, first, last)
        for vector, strength in strengths.items()
        for key in encoded
        for first, last in ranges
    ]
    return pd.DataFrame(keys, columns=["vector", "prompt", "strength", "first_layer", "last_layer"])


def _in_order(table: pd.DataFrame, vectors: Sequence[str], prompts: Sequence[str]) -> pd.DataFrame:
    places = {
        "vector": {name: n for n, name in enumerate(vectors)},
        "prompt": {name: n for n, name in enumerate(prompts)},
    }
    return table.sort_values(
        ["vector", "prompt", "first_layer", "last_layer"],
        key=lambda column: column.map(places[str(column.name)]) if column.name in places else column,
        ignore_index=True,
    )
