"""Experiments 1, 2, 4 and 7 in the report: detection tables beside the post's, and what the prose says of them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from introspection.experiments.instrument.check import held_out
from introspection.paper import summaries as measures
from introspection.paper import wording as text
from introspection.paper.models import FINETUNE, PERSONA, Study
from introspection.paper.render import Renderer, origin
from introspection.rereading import published
from introspection.settings import Settings


def render_detection(renderer: Renderer, settings: Settings, study: Study) -> dict[str, str]:
    """The detection table of a model, the table of its no answers, and what the prose says of them."""
    path = study.path("detection.csv")
    if not renderer.results.expects(path):
        return {}
    table = renderer.results.result(study.key, "detection.csv")
    post = published.published_detection(renderer.results)
    rows = detection_rows(table, post[~post["swept"]])
    sources = (path, "data/published/detection.csv")
    values: dict[str, str] = {
        "detection.table": renderer.render("detection", f"detection-{study.key}", sources, rows=rows, study=study),
        "detection.no.table": renderer.render("detection_no", f"no-{study.key}", sources, rows=rows, study=study),
        "detection.origin": origin(renderer.results.source(path)),
    }
    values |= detection_values(table, settings)
    if study.organism:
        planted = planted_rows(table, settings, study.organism)
        values["planted.concept.info"] = planted_percent(settings, study.organism, "concept", "info")
        values["planted.table"] = renderer.render("planted", f"planted-{study.key}", (path,), rows=planted, study=study)
    return values


def detection_rows(table: pd.DataFrame, post: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per vector and prompt, random directions as their mean, with the post's figures where it has them."""
    names = [name for name in dict.fromkeys(table["vector"]) if not str(name).startswith("random_")]
    groups: list[tuple[str, list[str]]] = [(name, [name]) for name in names]
    random = measures.random_vectors(table)
    if random:
        groups.append(("random", random))
    prompts = list(dict.fromkeys(table["prompt"]))
    rows: list[dict[str, Any]] = []
    for label, members in groups:
        for prompt in prompts:
            part = table[table["vector"].isin(members) & (table["prompt"] == prompt)]
            mean = measures.with_shift(part).mean(numeric_only=True)
            theirs = post[(post["vector"] == label) & (post["prompt"] == prompt)]
            figures = theirs.iloc[0] if len(theirs) else None
            rows.append(
                {
                    "vector": text.vector_label(label),
                    "first": prompt == prompts[0],
                    "last": prompt == prompts[-1],
                    "prompt": text.prompt_label(prompt),
                    **{name: text.percent(mean[name]) for name in mean.index if name.startswith("p_")},
                    "shift": text.nats(mean["shift"]),
                    **{
                        f"post_{name}": "–" if figures is None else published.as_percent(figures[f"p_{name}_bf16"])
                        for name in ("yes_base", "yes_injected", "no_base", "no_injected")
                    },
                }
            )
    return rows


def detection_values(table: pd.DataFrame, settings: Settings) -> dict[str, str]:
    """What the prose says of a detection table: means over the concepts, for each prompt, and the random directions."""
    values: dict[str, str] = {}
    groups = {"concepts": list(settings.study.concepts), "random": measures.random_vectors(table)}
    groups |= {name: [name] for name in (PERSONA, FINETUNE)}
    for group, vectors in groups.items():
        for prompt in dict.fromkeys(table["prompt"]):
            answer = measures.answer(table, vectors, prompt)
            if answer is not None:
                values |= {f"detection.{group}.{prompt}.{key}": value for key, value in answer_values(answer).items()}
    answers = {prompt: measures.answer(table, groups["concepts"], prompt) for prompt in dict.fromkeys(table["prompt"])}
    found = [(answer, prompt) for prompt, answer in answers.items() if answer is not None]
    if any(answer_values(answer)["moves"] != text.UNCHANGED for answer, _ in found):
        ordered = sorted(found, key=lambda pair: -pair[0].shift)
        values["detection.order"] = text.listing([text.prompt_label(str(prompt)) for _, prompt in ordered])
    return values


def answer_values(answer: measures.Answer) -> dict[str, str]:
    """An answer in words and figures for the prose: `goes` and `goes.to` are what becomes of the probability."""
    moves = text.direction(answer.shift, answer.injected - answer.base)
    base, injected = text.percent(answer.base), text.percent(answer.injected)
    still = moves == text.UNCHANGED
    return {
        "base": base,
        "injected": injected,
        "goes": f"{moves} ({base} without, {injected} with it)" if still else f"{moves} from {base} to {injected}",
        "goes.to": f"{moves} ({injected})" if still else f"{moves} to {injected}",
        "shift": text.nats(answer.shift),
        "low": text.nats(answer.shift_low),
        "high": text.nats(answer.shift_high),
        "moves": moves,
    }


def planted_rows(table: pd.DataFrame, settings: Settings, organism: str) -> list[dict[str, Any]]:
    """Planted and measured p(yes) by what was injected and by prompt; means over held-out concepts and random ones."""
    concepts = held_out(settings.organisms, settings.study.concepts)
    random = measures.random_vectors(table)
    rows: list[dict[str, Any]] = []
    for prompt in dict.fromkeys(table["prompt"]):
        concept = measures.answer(table, concepts, prompt)
        noise = measures.answer(table, random, prompt)
        measured = {
            "nothing": concept.base if concept else float("nan"),
            "concept": concept.injected if concept else float("nan"),
            "random": noise.injected if noise else float("nan"),
        }
        cells = {
            kind: (planted_percent(settings, organism, kind, prompt), text.percent(value))
            for kind, value in measured.items()
        }
        rows.append({"prompt": text.prompt_label(prompt), **cells})
    return rows


def planted_percent(settings: Settings, organism: str, injected: str, prompt: str) -> str:
    """The probability of yes that was planted for what is injected (nothing, concept, random) under a prompt."""
    rates = settings.organisms.trained[organism].p_yes.model_dump()[injected]
    return text.plain_percent(rates[prompt]) if prompt in rates else "–"
