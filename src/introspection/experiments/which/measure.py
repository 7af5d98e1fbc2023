"""Which one? The number that is said of a list of concepts, in many orders, and words that are said without a list."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from introspection.engine.trial import Injection
from introspection.experiments.population.concepts import load_population
from introspection.experiments.population.vectors import VECTORS, load_directions
from introspection.experiments.subject import Run, Subject
from introspection.experiments.which.tables import KEYS, LENS, NAMING, ORDERS, TOKENS, WHICH
from introspection.injection.cells import Cell, cells_of, run_cells
from introspection.injection.depths import by_layer
from introspection.model.readout import read_choice
from introspection.names import NOTHING
from introspection.stimuli.prompts import Conversation, Turn
from introspection.stimuli.which import NUMBERS, Arm, WhichFile
from introspection.tables import Outputs, names_of


@dataclass(frozen=True)
class Readable:
    """What of the answers is one token of the model. without: concepts whose word, with its space, is none."""

    numbers: bool
    words: Sequence[str]
    without: Sequence[str]


@dataclass(frozen=True)
class Lists:
    """Every arm's question with the list in every order, and what is injected before it.

    keys: by the conversation's key, its arm and the number of its order, from 1.
    """

    conversations: Mapping[str, Conversation]
    keys: Mapping[str, tuple[Arm, int]]
    injections: Sequence[Injection]

    @cached_property
    def cells(self) -> list[Cell]:
        """Every concept before every question."""
        return cells_of(list(self.conversations), self.injections)


def trials(subject: Subject) -> list[Run]:
    """Every list with nothing injected and under every concept; so the naming, under every one that has a word."""
    readable = _readable(subject)
    lists, depths = _lists(subject), len(subject.model.blocks) + 1
    runs = [subject.run(lists.conversations, lists.cells, depths)] if readable.numbers else []
    conversations = _naming(subject)
    cells = cells_of(list(conversations), subject.questions.injections(readable.words))
    return [*runs, subject.run(conversations, cells)]


def measure(subject: Subject) -> Outputs:
    """The choices, the orders, the words; and what of both is no single token of the model."""
    readable = _readable(subject)
    which, lens = choices(subject) if readable.numbers else (pd.DataFrame(), pd.DataFrame())
    return {
        WHICH.name: WHICH.of(which.reindex(columns=names_of(WHICH.columns))),
        LENS.name: LENS.of(lens.reindex(columns=names_of(LENS.columns))),
        ORDERS.name: ORDERS.of(order_rows(subject)),
        NAMING.name: NAMING.of(_words(subject, readable.words)),
        TOKENS: {"numbers": readable.numbers, "words": len(readable.words), "without": list(readable.without)},
    }


def orders(options: Sequence[str], count: int, seed: int) -> list[list[str]]:
    """So many shuffled orders: random Latin squares, so that in each ten every option has every number once.

    Rows, columns and symbols of the cyclic square are permuted at random (not uniform over all squares).
    """
    generator, size = np.random.default_rng(seed), len(options)
    found: list[list[str]] = []
    while len(found) < count:
        rows, columns, symbols = (generator.permutation(size) for _ in range(3))
        found += [[options[place] for place in symbols[(row + columns) % size]] for row in rows]
    return found[:count]


def list_conversation(subject: Subject, file: WhichFile, arm: Arm, order: Sequence[str]) -> Conversation:
    """A question of an arm with the options in an order, nothing in the words that the file has for it."""
    words = [file.none if option == NOTHING else option for option in order]
    return subject.stimuli.which_conversation(file, arm, words)


def choices(subject: Subject, prompts: Collection[str] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of `which.csv` and of `which_lens.csv`: what is not injected first, then concept by concept.

    prompts: of which arms are asked; None: all.
    """
    lists, model = _lists(subject, prompts), subject.model
    readings = run_cells(
        model,
        lists.conversations,
        lists.cells,
        load_directions(VECTORS / f"{subject.key}.safetensors"),
        tokens_per_batch=subject.tokens_per_batch,
        progress="which",
    )
    cells = [*((key, NOTHING) for key in lists.conversations), *((c.conversation, c.vector) for c in lists.cells)]
    states = torch.cat([readings.base, readings.injected])
    restricted, mass = read_choice(model, states, [model.token(number) for number in NUMBERS])
    orders_of = _orders(subject)
    rows, own = [], []
    for key, injected in cells:
        arm, order = lists.keys[key]
        rows.append({**{name: getattr(arm, name) for name in KEYS}, "order": order, "injected": injected})
        own.append(orders_of[order - 1].index(injected))
    keys = pd.DataFrame(rows)
    said = {f"p_{number}": restricted[:, -1, place].numpy() for place, number in enumerate(NUMBERS)}
    p_own = restricted[torch.arange(len(own)), :, own]
    lens = by_layer(keys, {"number": restricted.argmax(dim=-1), "p_own": p_own})
    return keys.assign(**said, mass=mass[:, -1].numpy()), lens


def order_rows(subject: Subject) -> pd.DataFrame:
    """The rows of `which_orders.csv`."""
    return pd.DataFrame(
        [
            {"order": order, "number": number, "option": option}
            for order, options in enumerate(_orders(subject), start=1)
            for number, option in enumerate(options)
        ]
    )


def _readable(subject: Subject) -> Readable:
    model, concepts = subject.model, load_population().concepts
    words = [concept for concept in concepts if model.is_token(f" {concept}")]
    without = [concept for concept in concepts if concept not in words]
    return Readable(all(model.is_token(number) for number in NUMBERS), words, without)


def _orders(subject: Subject) -> list[list[str]]:
    rule = subject.settings.which
    return orders([*rule.concepts, NOTHING], rule.orders, rule.seed)


def _lists(subject: Subject, prompts: Collection[str] | None = None) -> Lists:
    """Raises ValueError for a concept that is not in the population, whose vectors are injected."""
    concepts, population = subject.settings.which.concepts, load_population().concepts
    if unknown := [each for each in concepts if each not in population]:
        raise ValueError(f"which.concepts names {unknown[0]!r}, which is not in data/concepts.yaml")
    file, in_order = subject.stimuli.which(), _orders(subject)
    conversations, keys = {}, {}
    for arm in file.arms:
        if prompts is not None and arm.prompt not in prompts:
            continue
        for number, order in enumerate(in_order, start=1):
            key = f"{arm.prompt}, {arm.list}, {arm.question}: {number}"
            conversations[key] = list_conversation(subject, file, arm, order)
            keys[key] = arm, number
    return Lists(conversations, keys, subject.questions.injections(concepts))


def _naming(subject: Subject) -> dict[str, Conversation]:
    file = subject.stimuli.which().naming
    reply = Turn(role="assistant", content=file.answer)
    return {prompt: (*subject.stimuli.detection[prompt][:-1], reply) for prompt in file.prompts}


def _words(subject: Subject, words: Sequence[str]) -> pd.DataFrame:
    """The rows of `naming.csv`, concept by concept."""
    model, conversations = subject.model, _naming(subject)
    cells = cells_of(list(conversations), subject.questions.injections(words))
    readings = run_cells(
        model,
        conversations,
        cells,
        load_directions(VECTORS / f"{subject.key}.safetensors"),
        layers=[len(model.blocks)],
        tokens_per_batch=subject.tokens_per_batch,
        progress="naming",
    )
    tokens = [model.token(f" {word}") for word in words]
    base, injected = (
        torch.log_softmax(model.logits(states[:, 0]), dim=-1)[:, tokens].cpu()
        for states in (readings.base, readings.injected)
    )
    return pd.DataFrame(
        {
            "vector": [cell.vector for cell in cells for _ in words],
            "prompt": [cell.conversation for cell in cells for _ in words],
            "word": list(words) * len(cells),
            "log_p_base": base[readings.conversations].flatten().numpy(),
            "log_p_injected": injected.flatten().numpy(),
        },
        columns=names_of(NAMING.columns),
    )
