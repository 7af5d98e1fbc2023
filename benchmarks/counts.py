"""What the counts alone say: tokens that the blocks compute on either side, with no weight and no clock."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks import coarse, study, sweep, vectors
from benchmarks.subjects import organism_without_weights, random_model, stimuli, suffixes
from introspection.engine.memory import tokens_that_fit
from introspection.engine.trial import Trial
from introspection.engine.work import Work, count_work
from introspection.experiments.sweep.measure import layer_ranges, sweep_trials
from introspection.experiments.sweep.search import Range, coarse_to_fine
from introspection.injection.vectors import concept_trials
from introspection.model.language_model import LanguageModel
from introspection.stimuli.chat import encode


@dataclass(frozen=True)
class Count:
    """Tokens, summed over blocks and passes."""

    benchmark: str
    ours: int
    baseline: int

    @property
    def ratio(self) -> float:
        """How many times as much the baseline computes."""
        return self.baseline / self.ours


def run() -> list[Count]:
    """Every benchmark of the table."""
    organism = organism_without_weights()
    with torch.device("meta"):
        middling, deep = random_model(16, 512), random_model(coarse.BLOCKS, coarse.WIDTH)
    return [
        _sweep("layer sweep, the organism", organism),
        _sweep("layer sweep, 16 blocks", middling),
        _sweep(f"layer sweep, {coarse.BLOCKS} blocks", deep),
        _coarse(f"sweep from coarse to fine, {coarse.BLOCKS} blocks, the best in the middle", deep),
        _vectors(organism),
        _study(organism),
    ]


def _sweep(name: str, model: LanguageModel) -> Count:
    blocks, encoded = len(model.blocks), encode(model.tokenizer, stimuli().detection[sweep.PROMPT])
    ranges = layer_ranges(blocks)
    trials = sweep_trials({sweep.PROMPT: encoded}, {sweep.NAME: sweep.STRENGTH}, ranges)
    ours = count_work([Trial(encoded.token_ids, encoded.steered), *trials], blocks, tokens_that_fit(model))
    return Count(name, ours.block_tokens, 2 * len(ranges) * blocks * len(encoded.token_ids))


def _coarse(name: str, model: LanguageModel) -> Count:
    blocks, encoded = len(model.blocks), encode(model.tokenizer, stimuli().detection[sweep.PROMPT])
    total, best = Work(), (blocks // 3, 2 * blocks // 3)

    def measure(ranges: list[Range]) -> dict[Range, float]:
        nonlocal total
        trials = sweep_trials({sweep.PROMPT: encoded}, {sweep.NAME: sweep.STRENGTH}, ranges)
        total += count_work(trials, blocks, tokens_that_fit(model))
        return {found: -float(abs(found[0] - best[0]) + abs(found[1] - best[1])) for found in ranges}

    coarse_to_fine(blocks, measure)
    return Count(name, total.block_tokens, 2 * len(layer_ranges(blocks)) * blocks * len(encoded.token_ids))


def _vectors(model: LanguageModel) -> Count:
    blocks, ours, theirs = len(model.blocks), 0, 0
    for side in (*vectors.CONCEPTS, stimuli().anything):
        trials = concept_trials(model.tokenizer, stimuli(), side, suffixes())
        ours += count_work(trials, blocks, tokens_that_fit(model)).block_tokens
        read = sum(len(trial.token_ids) for trial in trials) * blocks
        theirs += read * (len(vectors.CONCEPTS) if side == stimuli().anything else 1)
    return Count(f"vectors for {len(vectors.CONCEPTS)} concepts, the organism", ours, theirs)


def _study(model: LanguageModel) -> Count:
    work, _ = study.count(model, study.ORGANISM)
    cells = study.cells(model, study.ORGANISM)
    theirs = sum(2 * len(encoded.token_ids) * len(model.blocks) for _, _, encoded, _ in cells)
    return Count(study.ORGANISM.name, work.block_tokens, theirs)
