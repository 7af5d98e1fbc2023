"""The layer sweep: every range of decoder blocks in which a vector can be injected, or a search among them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from introspection.engine.batches import plan_batches
from introspection.engine.memory import tokens_that_fit
from introspection.engine.run import run_trials
from introspection.engine.trial import Directions, Injection, Trial
from introspection.experiments.subject import Run, Subject
from introspection.experiments.sweep.choice import led_by
from introspection.experiments.sweep.search import Range, coarse_to_fine
from introspection.experiments.sweep.tables import SWEEP
from introspection.files import remove, write_text
from introspection.injection.cells import encode_all
from introspection.injection.dose import Guide
from introspection.model.language_model import LanguageModel
from introspection.model.readout import read_answers
from introspection.settings import SettingsError
from introspection.stimuli.chat import EncodedConversation, encode
from introspection.stimuli.prompts import Conversation, Stimuli
from introspection.tables import Outputs

VALUES = ["p_yes", "log_odds_yes"]
WORK = Path(".work/sweep")  # answers of finished batches, until the sweep is whole


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
    work = WORK / subject.key
    table = sweep_layers(
        subject.model,
        subject.stimuli,
        _prompts(subject),
        dict.fromkeys(concepts, subject.sweep.strength),
        subject.directions(concepts),
        guide=subject.sweep.guide,
        tokens_per_batch=subject.tokens_per_batch,
        work=work,
        identity=(subject.folder / "model.json").read_text(encoding="utf-8") + code(),
        progress="sweep",
    )
    remove(work)
    return {SWEEP.name: SWEEP.of(table)}


def _prompts(subject: Subject) -> dict[str, Conversation]:
    known = subject.stimuli.detection
    for prompt in subject.settings.sweep.prompts:
        if prompt not in known:
            raise SettingsError(f"params.yaml: sweep.prompts: found {prompt!r}; allowed: {', '.join(known)}")
    return {prompt: known[prompt] for prompt in subject.settings.sweep.prompts}


def code() -> str:
    """What computes an answer, as text: answers of finished batches are not taken from other code."""
    package = Path(__file__).parents[2]
    modules = [*package.glob("*.py"), *(package / "engine").glob("*.py"), *(package / "model").glob("*.py")]
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(modules))


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
    work: Path | None = None,
    identity: str = "",
    progress: str | None = None,
) -> pd.DataFrame:
    """The yes answer to every conversation with every vector injected in every range, all rows of the engine's trees.

    strengths: by vector name. guide: measure a grid of ranges and then the neighbourhood of the best, by the answer
    that it names, in place of every range. work: a folder in which the answers of finished batches wait, so that a
    sweep that was stopped goes on where it was; each is kept under a hash of all that it depends on, `identity` (which
    model and code this is) included. Returns vector, prompt, strength, first_layer, last_layer, p_yes, log_odds_yes.
    """
    encoded = {key: encode(model.tokenizer, conversation) for key, conversation in conversations.items()}
    blocks = len(model.blocks)
    tokens = tokens_per_batch or _tokens_per_batch(model, work)
    tables: list[pd.DataFrame] = []
    total = None if guide else len(strengths) * len(encoded) * len(layer_ranges(blocks))
    with tqdm(total=total, desc=progress, unit="range", disable=progress is None) as bar:

        def measure(ranges: Sequence[Range]) -> pd.DataFrame:
            trials = sweep_trials(encoded, strengths, ranges)
            keys = sweep_keys(encoded, strengths, ranges)
            table = keys.assign(**dict.fromkeys(VALUES, 0.0))
            # The engine's own batches: run one by one they share as much as in one run, and give the same numbers.
            for batch in plan_batches(trials, blocks, tokens):
                rows = [trials[row] for row in batch.rows]
                kept = work / f"{_fingerprint(model, stimuli, rows, directions, identity)}.json" if work else None
                answers = _read(kept)
                if answers is None:
                    answers = _answers(model, stimuli, rows, directions, tokens)
                    _keep(answers, kept)
                table.loc[list(batch.rows), VALUES] = [*zip(*(answers[name] for name in VALUES), strict=True)]
                bar.update(len(rows))
            tables.append(table)
            return table

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


def _tokens_per_batch(model: LanguageModel, work: Path | None) -> int:
    """What fits in memory now or, for a sweep that goes on, what did when it began: other batches round otherwise."""
    kept = work / "tokens_per_batch.json" if work else None
    tokens: int = _read(kept) or tokens_that_fit(model)
    _keep(tokens, kept)
    return tokens


def _answers(
    model: LanguageModel, stimuli: Stimuli, rows: Sequence[Trial], directions: Directions, tokens_per_batch: int
) -> dict[str, list[float]]:
    states = run_trials(model, rows, directions, layers=[len(model.blocks)], tokens_per_batch=tokens_per_batch)
    columns = read_answers(model, states[:, 0], stimuli.yes, stimuli.no)
    return {name: columns[name].tolist() for name in VALUES}


def _fingerprint(
    model: LanguageModel, stimuli: Stimuli, rows: Sequence[Trial], directions: Directions, identity: str
) -> str:
    """A hash of everything that the answers of a batch depend on."""
    digest = hashlib.sha256(f"{identity}\n{torch.__version__}\n{model.device}\n{stimuli.yes}\n{stimuli.no}".encode())
    for row in rows:
        digest.update(repr(row).encode())
    for vector in sorted({injection.vector for row in rows for injection in row.injections}):
        for block, direction in sorted(directions[vector].items()):
            digest.update(f"{vector} {block}".encode() + torch.as_tensor(direction).numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path | None) -> Any:
    if path is None or not path.is_file():
        return None
    return json.loads(path.read_text())


def _keep(value: Any, path: Path | None) -> None:
    if path is not None:
        write_text(path, json.dumps(value))
