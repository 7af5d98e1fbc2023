"""The layer sweep: every range of decoder blocks in which a vector can be injected, and the choice of one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from introspection.chat import encode
from introspection.models import LanguageModel
from introspection.readout import read_answers
from introspection.stimuli import Conversation, Stimuli
from introspection.trials import Directions, Injection, Trial, plan_batches, run_trials, tokens_that_fit

VALUES = ["p_yes", "log_odds_yes"]


@dataclass(frozen=True)
class ChosenRange:
    """An inclusive range of blocks, the answer it was chosen for, and the rule in words."""

    first_layer: int
    last_layer: int
    p_yes: float
    log_odds_yes: float
    candidates: int
    rule: str


def layer_ranges(blocks: int) -> list[tuple[int, int]]:
    """All inclusive ranges [i, j] with 0 < i <= j < blocks, in that order: blocks (blocks - 1) / 2 of them."""
    return [(first, last) for first in range(1, blocks) for last in range(first, blocks)]


def sweep_layers(
    model: LanguageModel,
    stimuli: Stimuli,
    conversations: Mapping[str, Conversation],
    strengths: Mapping[str, float],
    directions: Directions,
    *,
    tokens_per_batch: int | None = None,
    work: Path | None = None,
    identity: str = "",
    progress: str | None = None,
) -> pd.DataFrame:
    """The yes answer to every conversation with every vector injected in every range, all rows of the engine's trees.

    strengths: by vector name. work: a folder in which the answers of finished batches wait, so that a sweep that was
    stopped goes on where it was; each is kept under a hash of all that it depends on, `identity` (which model and code
    this is) included. Returns vector, prompt, strength, first_layer, last_layer, p_yes, log_odds_yes.
    """
    encoded = {key: encode(model.tokenizer, conversation) for key, conversation in conversations.items()}
    keys = [
        (key, Injection(vector, strength, first, last))
        for vector, strength in strengths.items()
        for key in encoded
        for first, last in layer_ranges(len(model.blocks))
    ]
    trials = [Trial(encoded[key].token_ids, encoded[key].steered, injection) for key, injection in keys]
    table = pd.DataFrame(
        [(arm.vector, key, arm.strength, arm.first_layer, arm.last_layer, 0.0, 0.0) for key, arm in keys],
        columns=["vector", "prompt", "strength", "first_layer", "last_layer", *VALUES],
    )
    # The engine's own batches: run one by one they share as much as in one run, and give the same numbers.
    tokens = tokens_per_batch or _tokens_per_batch(model, work)
    batches = plan_batches(trials, len(model.blocks), tokens)
    with tqdm(total=len(trials), desc=progress, unit="range", disable=progress is None) as bar:
        for batch in batches:
            rows = [trials[row] for row in batch.rows]
            kept = work / f"{_fingerprint(model, stimuli, rows, directions, identity)}.json" if work else None
            answers = _read(kept)
            if answers is None:
                answers = _answers(model, stimuli, rows, directions, tokens)
                _keep(answers, kept)
            table.loc[list(batch.rows), VALUES] = [*zip(*(answers[name] for name in VALUES), strict=True)]
            bar.update(len(rows))
    return table


def choose_range(sweep: pd.DataFrame, vector: str, prompt: str, earliest_start: float) -> ChosenRange:
    """The range with the largest yes probability for a vector and prompt among those that start late enough.

    sweep: the table of `sweep_layers`, all ranges of a model. earliest_start: a fraction of the model's depth.
    Compared by log-odds, which still differ where probabilities round to 1; among equals the shortest, then the
    earliest. Raises ValueError where no range is left to choose from.
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
            f"ranges that start no earlier than {earliest_start:g} of the {blocks} blocks"
        ),
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
