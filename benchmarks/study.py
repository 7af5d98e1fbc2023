"""Detection, controls and logit lens, and a population of directions, against the post's procedure for each cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from repeng import ControlVector

from benchmarks.measure import Arm, Outputs, in_child, largest_difference, parts_of, share_in_lanes, timed
from benchmarks.post import lens_logits, read_turns
from benchmarks.subjects import ROOT, TITLES, organism, plan_shape, product_rate, stimuli
from benchmarks.table import Row, compare
from introspection.engine.memory import tokens_that_fit
from introspection.engine.trial import Injection
from introspection.engine.work import Work, count_work
from introspection.experiments.controls.measure import ask_controls, control_conversations
from introspection.experiments.lens.measure import Weak, lens_cells, yes_lens, yes_variants
from introspection.files import read_json
from introspection.injection.answers import ask
from introspection.injection.cells import Cell, cell_trials, cells_of, encode_all
from introspection.injection.dose import QUESTIONS, Dose
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel
from introspection.names import random_name
from introspection.planning.plan import floating_point_operations
from introspection.stimuli.chat import EncodedConversation, encode
from introspection.stimuli.prompts import Conversation

WEAK = Weak("info", 0.25)
EXPERIMENTS = ("detection", "controls", "lens")

Plan = list[tuple[str, dict[str, Conversation], list[Cell]]]


@dataclass(frozen=True)
class Case:
    """Some experiments on a model, at its own range and strength.

    vectors: how many are injected. every: the baseline is timed on every so manieth cell of each experiment.
    """

    title: str
    model: str
    vectors: int
    every: int
    target: float
    experiments: tuple[str, ...] = EXPERIMENTS
    prompts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the row of the table is called."""
        return f"{self.title}, {self.vectors} vectors, {TITLES[self.model]}"


ORGANISM = Case("detection, controls and lens", "organism", 9, 1, 8.0)
CASES = (
    ORGANISM,
    Case("detection, controls and lens", "smollm2-135m", 4, 16, 0.95),
    Case("a population under one prompt", "smollm2-135m", 48, 8, 0.95, ("detection",), ("info",)),
)


def run() -> list[Row]:
    """The whole study on the organism and on a language model, and there a population of directions."""
    rows = []
    for case in CASES:
        ours, theirs = in_child(engine, case), in_child(post, case)
        baseline = "the post's procedure per cell" + (f", timed on every {case.every}th" if case.every > 1 else "")
        sampled = {name: values[:: case.every].ravel() for name, values in ours.outputs.items()}
        rows.append(
            compare(
                case.name,
                baseline,
                ours,
                theirs,
                case.target,
                difference=largest_difference(sampled, theirs.outputs),
                in_lanes=share_in_lanes(engine, case),
                remark=f"{ours.notes['trials'] / ours.seconds:.3g} steered trials a second",
            )
        )
    return rows


def engine(case: Case) -> Arm:
    """The experiments as the stages run them."""
    model = organism(case.model)
    directions = {name: vector.directions for name, vector in _vectors(model, case).items()}
    injections, asked, depths = injections_of(case), stimuli(), len(model.blocks) + 1

    def study() -> Outputs:
        found = {}
        if "detection" in case.experiments:
            found["detection"] = ask(model, asked, _prompts(case), injections, directions)
        if "controls" in case.experiments:
            found["controls"] = ask_controls(model, asked, injections, directions)
        if "lens" in case.experiments:
            found["lens"] = yes_lens(model, asked, injections, directions, weak=WEAK)
        return {
            f"{name} {column}": table[column].to_numpy().reshape(-1, depths if name == "lens" else 1)
            for name, table in found.items()
            for column in ("p_yes_base", "p_yes_injected")
        }

    seconds, peak, outputs = timed(study)
    work, unembedded = count(model, case)
    return Arm(
        seconds,
        peak,
        outputs,
        work.block_tokens,
        floating_point_operations(work, plan_shape(model), unembedded),
        product_rate(model),
        parts=parts_of(study),
        notes={"trials": sum(len(of_experiment) for _, _, of_experiment in plan(case))},
    )


def post(case: Case) -> Arm:
    """Cell by cell, both arms each; the time is scaled from those that are run to all of them."""
    model = organism(case.model)
    vectors = _vectors(model, case)
    yes = model.token(stimuli().yes)
    variants = [model.token(variant) for variant in yes_variants(model, stimuli()).used]
    sampled = list(cells(model, case, case.every))
    tokens, every = (
        2 * len(model.blocks) * sum(len(encoded.token_ids) for _, _, encoded, _ in some)
        for some in (sampled, cells(model, case))
    )

    def study() -> Outputs:
        found: dict[str, list[float]] = {}
        for name, text, encoded, injection in sampled:
            lens = name == "lens"
            arms = {"base": None, "injected": injection.strength * vectors[injection.vector]}
            layers = (injection.first_layer, injection.last_layer)
            for arm, vector in arms.items():
                output = read_turns(model, text, encoded, vector, layers, hidden_states=lens)
                logits = lens_logits(model, output) if lens else output.logits[0, -1:]
                probabilities = torch.softmax(logits.float(), dim=-1)
                values = probabilities[:, variants].sum(dim=-1) if lens else probabilities[:, yes]
                found.setdefault(f"{name} p_yes_{arm}", []).extend(values.tolist())
        return {name: np.array(values) for name, values in found.items()}

    seconds, peak, outputs = timed(study)
    return Arm(seconds, peak, outputs, every, scale=every / tokens)


def _vectors(model: LanguageModel, case: Case) -> dict[str, ControlVector]:
    return dict(random_vectors(model, case.vectors, seed=3))


def injections_of(case: Case) -> list[Injection]:
    """The case's vectors, at the dose that the model's results have."""
    dose = read_json(ROOT / "results" / case.model / QUESTIONS, Dose)
    return dose.injections(map(random_name, range(1, case.vectors + 1)))


def _prompts(case: Case) -> dict[str, Conversation]:
    detection = stimuli().detection
    return {name: detection[name] for name in case.prompts or detection}


def plan(case: Case) -> Plan:
    """The cells of the case's experiments, in the order of their tables."""
    asked, injections, prompts = stimuli(), injections_of(case), _prompts(case)
    questions = control_conversations(asked)
    every: Plan = [
        ("detection", prompts, cells_of(list(prompts), injections)),
        ("controls", questions, cells_of(list(questions), injections)),
        ("lens", prompts, [cell for _, cell in lens_cells(prompts, injections, WEAK)]),
    ]
    return [part for part in every if part[0] in case.experiments]


def cells(
    model: LanguageModel, case: Case, every: int = 1
) -> Iterator[tuple[str, Conversation, EncodedConversation, Injection]]:
    """Every so manieth cell of each experiment."""
    for name, conversations, of_experiment in plan(case):
        for cell in of_experiment[::every]:
            text = conversations[cell.conversation]
            assert cell.injection is not None
            yield name, text, encode(model.tokenizer, text), cell.injection


def count(model: LanguageModel, case: Case) -> tuple[Work, int]:
    """What the engine computes, and how many states it unembeds."""
    blocks = len(model.blocks)
    total, unembedded = Work(), 0
    for name, conversations, of_experiment in plan(case):
        trials = cell_trials(encode_all(model.tokenizer, conversations), of_experiment)
        total += count_work(trials, blocks, tokens_that_fit(model))
        unembedded += (blocks + 1 if name == "lens" else 1) * len(trials)
    return total, unembedded
