"""Detection, control questions and logit lens for nine vectors, against the post's procedure for each cell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from repeng import ControlVector

from benchmarks.measure import Arm, Outputs, in_child, timed
from benchmarks.post import lens_logits, read_turns
from benchmarks.subjects import ROOT, organism, plan_shape, product_rate, stimuli
from benchmarks.table import Row, compare
from introspection.engine.memory import tokens_that_fit
from introspection.engine.trial import Injection
from introspection.engine.work import Work, count_work
from introspection.experiments.controls.measure import ask_controls, control_conversations
from introspection.experiments.lens.measure import Weak, lens_cells, yes_lens, yes_variants
from introspection.injection.answers import ask
from introspection.injection.cells import Cell, cell_trials, cells_of, encode_all
from introspection.injection.dose import doses
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel
from introspection.names import random_name
from introspection.planning.plan import floating_point_operations
from introspection.settings import load_settings
from introspection.stimuli.chat import EncodedConversation, encode
from introspection.stimuli.prompts import Conversation

VECTORS = 9
WEAK = Weak("info", 0.25)


def run() -> list[Row]:
    """The whole study on the organism, at its own range and strength."""
    title = f"detection, controls and lens, {VECTORS} vectors, the organism"
    return [compare(title, "the post's procedure per cell", in_child(engine), in_child(post), 8.0)]


def engine() -> Arm:
    """The three experiments as the stages run them."""
    model = organism()
    directions = {name: vector.directions for name, vector in _vectors(model).items()}
    injections = _injections()

    def study() -> Outputs:
        asked = stimuli()
        found = {
            "detection": ask(model, asked, asked.detection, injections, directions),
            "controls": ask_controls(model, asked, injections, directions),
            "lens": yes_lens(model, asked, injections, directions, weak=WEAK),
        }
        columns = ("p_yes_base", "p_yes_injected")
        return {f"{name} {column}": table[column].to_numpy() for name, table in found.items() for column in columns}

    seconds, peak, outputs = timed(study)
    work, unembedded = count(model)
    return Arm(
        seconds,
        peak,
        outputs,
        work.block_tokens,
        floating_point_operations(work, plan_shape(model), unembedded),
        product_rate(model),
    )


def post() -> Arm:
    """Cell by cell, both arms each."""
    model = organism()
    vectors = _vectors(model)
    yes = model.token(stimuli().yes)
    variants = [model.token(variant) for variant in yes_variants(model, stimuli()).used]
    tokens = 0

    def study() -> Outputs:
        nonlocal tokens
        tokens = 0
        found: dict[str, list[float]] = {}
        for name, text, encoded, injection in cells(model):
            lens = name == "lens"
            arms = {"base": None, "injected": injection.strength * vectors[injection.vector]}
            layers = (injection.first_layer, injection.last_layer)
            for arm, vector in arms.items():
                output = read_turns(model, text, encoded, vector, layers, hidden_states=lens)
                logits = lens_logits(model, output) if lens else output.logits[0, -1:]
                probabilities = torch.softmax(logits.float(), dim=-1)
                values = probabilities[:, variants].sum(dim=-1) if lens else probabilities[:, yes]
                found.setdefault(f"{name} p_yes_{arm}", []).extend(values.tolist())
                tokens += len(encoded.token_ids) * len(model.blocks)
        return {name: np.array(values) for name, values in found.items()}

    seconds, peak, outputs = timed(study)
    return Arm(seconds, peak, outputs, tokens)


def _vectors(model: LanguageModel) -> dict[str, ControlVector]:
    return dict(random_vectors(model, VECTORS, seed=3))


def _injections() -> list[Injection]:
    settings = load_settings(ROOT / "params.yaml")
    dose = doses(settings.models["organism"], settings.sweep).questions
    return dose.injections(map(random_name, range(1, VECTORS + 1)))


def cells(model: LanguageModel) -> Iterator[tuple[str, Conversation, EncodedConversation, Injection]]:
    """Every cell of the three experiments, in the order of their tables."""
    asked, injections = stimuli(), _injections()
    questions = control_conversations(asked)
    experiments: list[tuple[str, dict[str, Conversation], list[Cell]]] = [
        ("detection", asked.detection, cells_of(list(asked.detection), injections)),
        ("controls", questions, cells_of(list(questions), injections)),
        ("lens", asked.detection, [cell for _, cell in lens_cells(asked.detection, injections, WEAK)]),
    ]
    for name, conversations, of_experiment in experiments:
        for cell in of_experiment:
            text = conversations[cell.conversation]
            assert cell.injection is not None
            yield name, text, encode(model.tokenizer, text), cell.injection


def count(model: LanguageModel) -> tuple[Work, int]:
    """What the engine computes, and how many states it unembeds."""
    asked, injections, blocks = stimuli(), _injections(), len(model.blocks)
    questions = control_conversations(asked)
    total, unembedded = Work(), 0
    for conversations, of_experiment, depths in (
        (asked.detection, cells_of(list(asked.detection), injections), 1),
        (questions, cells_of(list(questions), injections), 1),
        (asked.detection, [cell for _, cell in lens_cells(asked.detection, injections, WEAK)], blocks + 1),
    ):
        trials = cell_trials(encode_all(model.tokenizer, conversations), of_experiment)
        total += count_work(trials, blocks, tokens_that_fit(model))
        unembedded += depths * len(trials)
    return total, unembedded
