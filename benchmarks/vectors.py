"""Control vectors of several concepts, against repeng's training of each."""

from __future__ import annotations

import contextlib
import io
from typing import NamedTuple

import numpy as np
from repeng import ControlVector, DatasetEntry

from benchmarks.measure import Arm, Outputs, in_child, parts_of, share_in_lanes, timed
from benchmarks.subjects import TITLES, organism, plan_shape, product_rate, stimuli, suffixes
from benchmarks.table import Row, compare
from introspection.engine.memory import tokens_that_fit
from introspection.engine.work import Work, count_work
from introspection.injection.vectors import concept_trials, concept_vectors
from introspection.model.language_model import LanguageModel
from introspection.planning.plan import floating_point_operations
from introspection.stimuli.chat import generation_prompt

CONCEPTS = ("cat", "bread", "love", "fear", "death", "truth", "creativity", "programming", "music")
BATCH = 64  # the post's


class Case(NamedTuple):
    """Concepts on a model, and the least ratio to the baseline's time (below 1: of what the counts say)."""

    model: str
    concepts: tuple[str, ...]
    target: float


CASES = (Case("organism", CONCEPTS, 4.0), Case("smollm2-135m", CONCEPTS[:2], 0.95))


def run() -> list[Row]:
    """On the organism and on a language model. The difference is that of the least cosine from 1."""
    rows = []
    for case in CASES:
        ours, theirs = in_child(engine, case), in_child(repengs, case)
        cosines = [float(np.dot(ours.outputs[each], theirs.outputs[each])) for each in theirs.outputs]
        rows.append(
            compare(
                f"vectors for {len(case.concepts)} concepts, {TITLES[case.model]}",
                "repeng.ControlVector.train per concept",
                ours,
                theirs,
                case.target,
                tolerance=1e-3,
                difference=1 - min(cosines),
                in_lanes=share_in_lanes(engine, case),
                remark="difference: of the least cosine from 1",
            )
        )
    return rows


def engine(case: Case) -> Arm:
    """All concepts, the negative side once."""
    model = organism(case.model)

    def train() -> Outputs:
        return _flat(dict(concept_vectors(model, stimuli(), case.concepts, suffixes())))

    seconds, peak, outputs = timed(train)
    work = Work()
    for side in (*case.concepts, stimuli().anything):
        trials = concept_trials(model.tokenizer, stimuli(), side, suffixes())
        work += count_work(trials, len(model.blocks), tokens_that_fit(model))
    operations = floating_point_operations(work, plan_shape(model))
    rate = product_rate(model)
    return Arm(seconds, peak, outputs, work.block_tokens, operations, rate, parts=parts_of(train))


def repengs(case: Case) -> Arm:
    """One training per concept, as in the post."""
    model = organism(case.model)

    def train() -> Outputs:
        with contextlib.redirect_stderr(io.StringIO()):
            return _flat({concept: _trained(model, concept) for concept in case.concepts})

    tokens = 0
    for concept in case.concepts:
        for side in (concept, stimuli().anything):
            trials = concept_trials(model.tokenizer, stimuli(), side, suffixes())
            tokens += sum(len(trial.token_ids) for trial in trials) * len(model.blocks)
    seconds, peak, outputs = timed(train, at_most=2)
    return Arm(seconds, peak, outputs, tokens)


def _trained(model: LanguageModel, concept: str) -> ControlVector:
    sides = [generation_prompt(model.tokenizer, stimuli().concept_prompt(c)) for c in (concept, stimuli().anything)]
    data = [DatasetEntry(positive=sides[0] + suffix, negative=sides[1] + suffix) for suffix in suffixes()]
    return ControlVector.train(model.model, model.tokenizer, data, method="pca_center", batch_size=BATCH)


def _flat(vectors: dict[str, ControlVector]) -> Outputs:
    return {
        f"{name} {block}": direction
        for name, vector in vectors.items()
        for block, direction in vector.directions.items()
    }
