"""Detection, controls, where and which, of one state of an organism's training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from introspection import names
from introspection.experiments.competence.statistics import competence
from introspection.experiments.controls.measure import ask_controls
from introspection.experiments.one_process import write_vectors
from introspection.experiments.population.concepts import spread
from introspection.experiments.population.vectors import VECTORS, save_directions
from introspection.experiments.subject import Subject
from introspection.experiments.where.measure import measure as choose_places
from introspection.experiments.where.statistics import where_summary
from introspection.experiments.where.tables import WHERE
from introspection.experiments.which.measure import choices, order_rows
from introspection.experiments.which.statistics import choices_of, one_hot
from introspection.experiments.which.tables import KEYS
from introspection.injection.answers import ask
from introspection.injection.vectors import concept_vectors
from introspection.intervals import bootstrap_interval
from introspection.settings import CurveSettings
from introspection.settings.planted import PlantedSettings
from introspection.stimuli.prompts import Conversation, Stimuli

KINDS: tuple[Literal["concept", "centred", "shared", "random", "coherent"], ...] = (
    "concept",
    "centred",
    "shared",
    "random",
    "coherent",
)
"""What is injected before the study's question: what a rule has an answer to."""

Row = dict[str, Any]


def state_rows(subject: Subject, planted: PlantedSettings) -> pd.DataFrame:
    """The rows of one step of `curve.csv`, without the step.

    subject: the state, with its weights, its doses and its filler in its folder. planted: the rule that it learns.
    """
    settings = subject.settings
    where = settings.where.model_copy(update={"directions": 0})
    subject = replace(
        subject,
        settings=settings.model_copy(update={"where": where}),
        given_suffixes=spread(subject.suffixes, settings.curve.suffixes),
    )
    _make_vectors(subject)
    rows = [*_detection(subject, planted), *_controls(subject), *_where(subject), *_which(subject)]
    return pd.DataFrame(rows)


def asked_prompts(settings: CurveSettings, stimuli: Stimuli) -> dict[str, Conversation]:
    """The prompts of the study's question. Raises ValueError for one that is not there."""
    known = stimuli.detection
    if unknown := [prompt for prompt in settings.prompts if prompt not in known]:
        raise ValueError(f"curve.prompts names {unknown[0]!r}; data/prompts/detection.yaml has {', '.join(known)}")
    return {prompt: known[prompt] for prompt in settings.prompts}


def _make_vectors(subject: Subject) -> None:
    """Those of the study, and of the concepts of the list."""
    write_vectors(subject)
    concepts, sign = subject.settings.which.concepts, subject.settings.study.sign
    listed = concept_vectors(subject.model, subject.stimuli, concepts, subject.suffixes, sign=sign)
    directions = {name: vector.directions for name, vector in listed}
    save_directions(directions, VECTORS / f"{subject.key}.safetensors")


def _detection(subject: Subject, planted: PlantedSettings) -> Iterator[Row]:
    vectors = [name for name in subject.detected if names.kind_of(name) in KINDS]
    table = ask(
        subject.model,
        subject.stimuli,
        asked_prompts(subject.settings.curve, subject.stimuli),
        subject.questions.injections(vectors),
        subject.directions(vectors),
        tokens_per_batch=subject.tokens_per_batch,
        progress="detection",
    )
    for prompt, asked in table.groupby("prompt", sort=False):
        wanted = planted.rate("nothing", str(prompt))
        yield _row("detection", prompt, names.NOTHING, asked["p_yes_base"].iloc[:1], wanted, subject.settings.curve)
        for kind in KINDS:
            values = asked.loc[asked["vector"].map(names.kind_of) == kind, "p_yes_injected"]
            yield _row("detection", prompt, kind, values, planted.rate(kind, str(prompt)), subject.settings.curve)


def _controls(subject: Subject) -> Iterator[Row]:
    answers = ask_controls(
        subject.model,
        subject.stimuli,
        subject.questions.injections(subject.concepts),
        subject.directions(subject.concepts),
        tokens_per_batch=subject.tokens_per_batch,
        progress="controls",
    )
    rule = subject.settings.competence
    table = competence(answers, subject.stimuli.expected, rule.confidence).set_index("vector")["balanced_accuracy"]
    for injected, vectors in ((names.NOTHING, [names.NOTHING]), ("concept", list(subject.concepts))):
        yield _row("controls", "controls", injected, table.loc[vectors], 0.5, subject.settings.curve)


def _where(subject: Subject) -> Iterator[Row]:
    summary = where_summary(choose_places(subject)[WHERE.name].rows, subject.settings.where)
    for found in summary[summary["readout"] == "raw"].to_dict("records"):
        yield {
            "test": "where",
            "asked": found["task"],
            "injected": found["kind"],
            "value": found["accuracy_injected"],
            "low": found["accuracy_injected_low"],
            "high": found["accuracy_injected_high"],
            "units": found["units"],
            "wanted": found["chance"],
        }


def _which(subject: Subject) -> Iterator[Row]:
    """At the last layer; an order of the list is a unit."""
    (_, lens), orders = choices(subject, subject.settings.curve.prompts), order_rows(subject)
    options = [*subject.settings.which.concepts, names.NOTHING]
    for arm, part in lens.groupby(list(KEYS), sort=False):
        chosen = one_hot(choices_of(part, orders, options))[:, -1]
        right = chosen.diagonal(axis1=-2, axis2=-1).mean(axis=-1)
        yield _row("which", ", ".join(map(str, arm)), "concept", right, 1 / len(options), subject.settings.curve)


def _row(test: str, asked: object, injected: str, values: Any, wanted: float | None, rule: CurveSettings) -> Row:
    """The mean of values, and its interval, where there are several."""
    each = np.asarray(values, dtype=float)
    low, high = bootstrap_interval((each,), np.mean, rule) if len(each) > 1 else (math.nan, math.nan)
    return {
        "test": test,
        "asked": asked,
        "injected": injected,
        "value": each.mean(),
        "low": float(low),
        "high": float(high),
        "units": len(each),
        "wanted": wanted,
    }
