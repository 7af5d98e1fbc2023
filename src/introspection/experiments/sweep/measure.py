"""The layer sweep: every range of decoder blocks in which a vector can be injected, and the choice of one."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from tqdm import tqdm

from introspection.engine.batches import plan_batches
from introspection.engine.memory import tokens_that_fit
from introspection.engine.run import run_trials
from introspection.engine.trial import Directions, Injection, Trial
from introspection.experiments.sweep.search import Range, coarse_to_fine
from introspection.model.language_model import LanguageModel
from introspection.model.readout import read_answers
from introspection.stimuli.chat import EncodedConversation, encode
from introspection.stimuli.prompts import Conversation, Stimuli

SweepMode = Literal["exhaustive", "coarse_to_fine"]
VALUES = ["p_yes", "log_odds_yes"]


@dataclass(frozen=True)
class ChosenRange:
    """An inclusive range of blocks, the answer it was chosen for, the rule in words, and which ranges were measured."""

    first_layer: int
    last_layer: int
    p_yes: float
    log_odds_yes: float
    candidates: int
    rule: str
    mode: str


@dataclass(frozen=True)
class Guide:
    """Whose yes answer leads a sweep from coarse to fine, and where ranges may start, a fraction of the depth."""

    vector: str
    prompt: str
    earliest_start: float


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
            coarse_to_fine(blocks, partial(_led_by, guide, measure), math.ceil(guide.earliest_start * blocks))
        else:
            measure(layer_ranges(blocks))
    return _in_order(pd.concat(tables, ignore_index=True), list(strengths), list(encoded))


def sweep_trials(
    encoded: Mapping[str, EncodedConversation], strengths: Mapping[str, float], ranges: Sequence[Range]
) -> list[Trial]:
    """Every vector under every conversation in every range, in that order."""
    return [
        Trial(text.token_ids, text.steered, Injection(vector, strength, first, last))
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


def _led_by(
    guide: Guide, measure: Callable[[Sequence[Range]], pd.DataFrame], ranges: Sequence[Range]
) -> dict[Range, float]:
    table = measure(ranges)
    led = table[(table["vector"] == guide.vector) & (table["prompt"] == guide.prompt)]
    keys = zip(led["first_layer"].astype(int), led["last_layer"].astype(int), strict=True)
    return dict(zip(keys, led["log_odds_yes"].astype(float), strict=True))


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


def choose_range(
    sweep: pd.DataFrame, vector: str, prompt: str, earliest_start: float, mode: SweepMode = "exhaustive"
) -> ChosenRange:
    """The range with the largest yes probability for a vector and prompt among those that start late enough.

    sweep: the table of `sweep_layers`, and the mode in which it was measured, with which the choice is marked.
    earliest_start: a fraction of the model's depth. Compared by log-odds, which still differ where probabilities round
    to 1; among equals the shortest, then the earliest. Raises ValueError where no range is left, or where another rule
    has led the search.
    """
    blocks = int(sweep["last_layer"].max()) + 1
    rows = sweep[(sweep["vector"] == vector) & (sweep["prompt"] == prompt)]
    rows = rows[rows["first_layer"] >= earliest_start * blocks]
    if rows.empty:
        raise ValueError(
            f"no range of the sweep for {vector!r} under {prompt!r} starts at or after {earliest_start:g} of the "
            f"{blocks} blocks; lower sweep.earliest_start in params.yaml"
        )
    length = rows["last_layer"] - rows["first_layer"]
    measured = sweep[["first_layer", "last_layer"]].drop_duplicates()
    how = ""
    if mode == "coarse_to_fine":
        _check_search(sweep, vector, prompt, earliest_start, blocks)
        how = f" (of the {len(measured)} that a search from coarse to fine has measured)"
    order = ["log_odds_yes", "length", "first_layer"]
    best = rows.assign(length=length).sort_values(order, ascending=[False, True, True]).iloc[0]
    return ChosenRange(
        first_layer=int(best["first_layer"]),
        last_layer=int(best["last_layer"]),
        p_yes=float(best["p_yes"]),
        log_odds_yes=float(best["log_odds_yes"]),
        candidates=len(rows),
        rule=(
            f"the largest probability of yes with {vector} injected under the prompt {prompt}, among the {len(rows)} "
            f"ranges that start no earlier than {earliest_start:g} of the {blocks} blocks{how}"
        ),
        mode=mode,
    )


def _check_search(sweep: pd.DataFrame, vector: str, prompt: str, earliest_start: float, blocks: int) -> None:
    """Search again in what was measured: another rule would have led elsewhere."""
    led = partial(_led_by, Guide(vector, prompt, earliest_start), lambda _: sweep)
    measured = led([])

    def look_up(ranges: Sequence[Range]) -> dict[Range, float]:
        return {found: measured[found] for found in ranges}

    try:
        coarse_to_fine(blocks, look_up, math.ceil(earliest_start * blocks))
    except KeyError as missing:
        raise ValueError(
            f"the search from coarse to fine was led by another rule than {vector!r} under {prompt!r} from "
            f"{earliest_start:g} of the depth on: {list(missing.args[0])} is not measured; run the stage `sweep` again"
        ) from missing


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
    for vector in sorted({row.injection.vector for row in rows if row.injection}):
        for block, direction in sorted(directions[vector].items()):
            digest.update(f"{vector} {block}".encode() + torch.as_tensor(direction).numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path | None) -> Any:
    if path is None or not path.is_file():
        return None
    return json.loads(path.read_text())


def _keep(value: Any, path: Path | None) -> None:
    """Whole or not at all: a file that is there is complete."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(value))
    unfinished.replace(path)
