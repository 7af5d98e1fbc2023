"""How much hangs on the suffixes: directions of parts of them, from states that are computed once, and the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from introspection.engine.trial import Directions, Injection
from introspection.experiments.subject import Run, Subject
from introspection.experiments.suffixes.audit import sign_audit
from introspection.experiments.suffixes.resampling import (
    HALVES,
    bootstrap,
    bootstrap_kinds,
    halves,
    other_rule,
    other_sign,
)
from introspection.experiments.suffixes.tables import ASKED, AUDIT
from introspection.injection.answers import ask
from introspection.injection.cells import cells_of
from introspection.injection.vectors import Float, concept_states, concept_trials, principal_directions
from introspection.settings import SettingsError
from introspection.stimuli.prompts import Conversation
from introspection.tables import Outputs, names_of


@dataclass(frozen=True)
class Asking:
    """Vectors that are injected under the same conversations; a vector's name is its concept and its kind."""

    conversations: Mapping[str, Conversation]
    injections: list[Injection]


def trials(subject: Subject) -> list[Run]:
    """Both sides of every contrast behind every suffix, and the prompts under every vector made of them."""
    tokenizer, stimuli = subject.model.tokenizer, subject.stimuli
    sides = [stimuli.anything, *subject.concepts]
    states = [Run(concept_trials(tokenizer, stimuli, side, subject.suffixes), depths=0) for side in sides]
    answers = [
        subject.run(each.conversations, cells_of(list(each.conversations), each.injections))
        for each in askings(subject)
    ]
    return states + answers


def measure(subject: Subject) -> Outputs:
    """The audit of signs, and the answers under the vectors of halves and resamples and with the other sign."""
    audit, directions = made_of_suffixes(subject)
    answers = [
        ask(
            subject.model,
            subject.stimuli,
            each.conversations,
            each.injections,
            directions,
            tokens_per_batch=subject.tokens_per_batch,
            progress="suffixes",
        )
        for each in askings(subject)
    ]
    asked = pd.concat(answers, ignore_index=True)
    asked[["vector", "kind"]] = asked["vector"].str.split("/", expand=True)
    places = {concept: place for place, concept in enumerate(subject.concepts)}
    asked = asked.sort_values("vector", key=lambda names: names.map(places), kind="stable")
    return {AUDIT.name: AUDIT.of(audit), ASKED.name: ASKED.of(asked[names_of(ASKED.columns)])}


def askings(subject: Subject) -> list[Asking]:
    """The halves and the other sign under every prompt; resamples, which are many, under those of the settings."""
    settings, known = subject.settings.suffixes, subject.stimuli.detection
    for prompt in settings.prompts:
        if prompt not in known:
            raise SettingsError(f"params.yaml: suffixes.prompts: found {prompt!r}; allowed: {', '.join(known)}")

    def of(kinds: list[str]) -> list[Injection]:
        return subject.questions.injections(_name(concept, kind) for concept in subject.concepts for kind in kinds)

    return [
        Asking(known, of([*HALVES, other_sign(subject.settings.study.sign)])),
        Asking({prompt: known[prompt] for prompt in settings.prompts}, of(bootstrap_kinds(settings.resamples))),
    ]


def made_of_suffixes(subject: Subject) -> tuple[pd.DataFrame, Directions]:
    """The audit of every concept, and the directions of its vectors by name; both sides are read once for all."""
    settings, sign, count = subject.settings.suffixes, subject.settings.study.sign, len(subject.suffixes)
    first, last = subject.questions.layers
    injected, every = range(first, last + 1), range(1, len(subject.model.blocks))
    parts, draws = halves(count, settings.seed), bootstrap(count, settings.resamples, settings.seed)
    audits: list[pd.DataFrame] = []
    directions: dict[str, dict[int, Float]] = {}
    for concept, positive, negative in concept_states(
        subject.model,
        subject.stimuli,
        subject.concepts,
        subject.suffixes,
        tokens_per_batch=subject.tokens_per_batch,
        progress=True,
    ):
        found = {
            **{kind: principal_directions(positive[at], negative[at], every, sign) for kind, at in parts.items()},
            **{kind: principal_directions(positive[at], negative[at], injected, sign) for kind, at in draws.items()},
            other_sign(sign): principal_directions(positive, negative, injected, other_rule(sign)),
        }
        directions |= {_name(concept, kind): each for kind, each in found.items()}
        audit = sign_audit(positive, negative, sign, (found["half_1"], found["half_2"]))
        audits.append(audit.assign(vector=concept))
    return pd.concat(audits, ignore_index=True)[names_of(AUDIT.columns)], directions


def _name(concept: str, kind: str) -> str:
    """What a vector is called among those injected; no concept has a stroke in its name."""
    return f"{concept}/{kind}"
