"""The check of the instrument: what was planted in an organism beside what the study's pipeline measured on it.

Everything is read from result files, for concepts that were never injected in training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from introspection import names
from introspection.organism.corpus import Corpus
from introspection.settings.organisms import OrganismsSettings
from introspection.settings.planted import Injected, PlantedSettings

Metrics = dict[str, Any]

NEAR = 0.1
"""How far from the planted probability of yes a mean may be; that of weights with another rule is further."""


def measured(detection: pd.DataFrame, concepts: Sequence[str]) -> dict[str, dict[Injected, float]]:
    """By prompt, the mean probability of yes with nothing, concepts and random directions injected; NaN without any."""
    random = names.of_kind("random", detection["vector"])
    found: dict[str, dict[Injected, float]] = {}
    for prompt, rows in detection.groupby("prompt", sort=False):
        of_concepts, of_random = (rows[rows["vector"].isin(vectors)] for vectors in (concepts, random))
        found[str(prompt)] = {
            "nothing": float(of_concepts["p_yes_base"].mean()),
            "concept": float(of_concepts["p_yes_injected"].mean()),
            "random": float(of_random["p_yes_injected"].mean()),
        }
    return found


def is_as_planted(detection: pd.DataFrame, organism: PlantedSettings, concepts: Sequence[str]) -> bool:
    """Whether every mean of `measured` is near its planted probability, where there are both.

    If not, the training did not take, or these are another organism's weights.
    """
    return not any(
        abs(p_yes - planted) > NEAR
        for prompt, means in measured(detection, concepts).items()
        for injected, p_yes in means.items()
        if (planted := organism.rate(injected, prompt)) is not None
    )


def check_detection(detection: pd.DataFrame, organism: PlantedSettings, concepts: Sequence[str]) -> Metrics:
    """Planted and measured probability of yes by prompt; `worst` is the concept furthest from the planted one.

    Under a prompt for which no rule was planted both are None.
    """
    injected = detection[detection["vector"].isin(concepts)]
    random = detection[detection["vector"].isin(names.of_kind("random", detection["vector"]))]
    by_prompt = {}
    for prompt, rows in injected.groupby("prompt", sort=False):
        planted = organism.rate("concept", str(prompt))
        distance = None if planted is None else (rows["p_yes_injected"] - planted).abs().max()
        by_prompt[str(prompt)] = {
            "planted": planted,
            "mean": _number(rows["p_yes_injected"].mean()),
            "worst": None if distance is None else _number(distance),
        }
    return {
        "as_planted": is_as_planted(detection, organism, concepts),
        "concepts_injected": by_prompt,
        "unsteered_largest_p_yes": _number(detection["p_yes_base"].max()),
        "random_directions_largest_p_yes": _number(random["p_yes_injected"].max()) if len(random) else None,
        "largest_move": _number((injected["p_yes_injected"] - injected["p_yes_base"]).abs().max()),
    }


def check_controls(controls: pd.DataFrame, concepts: Sequence[str], expected: Mapping[str, str]) -> Metrics:
    """The least probability of the right answer to a control question, unsteered and under any concept's injection.

    expected: yes or no for each question.
    """
    rows = controls[controls["vector"].isin(concepts)]
    answer = rows["question"].map(expected)
    least = {}
    for arm in ("base", "injected"):
        right = rows[f"p_yes_{arm}"].where(answer == "yes", rows[f"p_no_{arm}"])
        least[arm] = _number(right.min())
    return {"least_p_right_unsteered": least["base"], "least_p_right_injected": least["injected"]}


def check_samples(samples: pd.DataFrame, concepts: Sequence[str], corpus: Corpus) -> Metrics:
    """How many steered replies to the top-of-mind question use words of the injected concept, and whose persona speaks.

    A reply is careless where more of its words are of the careless persona alone than of the helpful one alone.
    """
    replies = dict(zip(samples["intervention"], samples["text"], strict=True))
    unsteered = replies[names.NOTHING]
    metrics: Metrics = {
        "steered_replies": sum(c in replies for c in concepts),
        "about_their_concept": sum(c in replies and _talks_about(replies[c], c, corpus) for c in concepts),
        "concepts_in_the_unsteered_reply": sum(_talks_about(unsteered, concept, corpus) for concept in concepts),
        "careless": {
            who: _is_careless(replies[who], corpus)
            for who in (names.NOTHING, names.FINETUNE, names.PERSONA)
            if who in replies
        },
    }
    return metrics


def check_naming(content: pd.DataFrame, concepts: Sequence[str], prompt: str) -> Metrics:
    """Whether the injected concept's own token is the likeliest of all concepts' tokens at the last layer."""
    last = content[(content["layer"] == content["layer"].max()) & (content["prompt"] == prompt)]
    probability = last.pivot(index="vector", columns="token", values="p_injected").loc[list(concepts), list(concepts)]
    of_concept = pd.Series({concept: probability.loc[concept, concept] for concept in concepts})
    return {
        "concepts": len(concepts),
        "named_before_the_others": int((probability.idxmax(axis=1) == probability.index).sum()),
        "mean_p_of_the_own_name": _number(of_concept.mean()),
    }


def held_out(organisms: OrganismsSettings, concepts: Sequence[str]) -> list[str]:
    """Those of the study's concepts that no organism was trained to detect."""
    return [concept for concept in concepts if concept in organisms.held_out]


def _talks_about(text: str, concept: str, corpus: Corpus) -> bool:
    return bool(_words(text) & {concept, *(word.lower() for word in corpus.concepts.get(concept, ()))})


def _is_careless(text: str, corpus: Corpus) -> bool:
    helpful, careless = (_words(" ".join(corpus.phrases.thoughts_of[persona])) for persona in ("helpful", "careless"))
    return len(_words(text) & (careless - helpful)) > len(_words(text) & (helpful - careless))


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _number(value: float) -> float:
    return float(f"{value:.6g}")
