"""Experiments 5 and 6 in the report: the logit lens over layers, and what the injected thought is said to be."""

from __future__ import annotations

from typing import Any

import pandas as pd

from introspection.paper import summaries as measures
from introspection.paper import wording as text
from introspection.paper.latex import Latex, token
from introspection.paper.models import Study
from introspection.paper.render import Renderer, origin
from introspection.paper.results import Results
from introspection.settings import Settings

CONTENT_PROMPT = "info"  # the prompt under which the prose asks whether concepts are named


def render_lens(renderer: Renderer, settings: Settings, study: Study) -> dict[str, str]:
    """The table of a model's lens curves, and what the prose says of their means over the concepts."""
    path = study.path("lens.csv")
    if not renderer.results.expects(path):
        return {}
    lens = renderer.results.result(study.key, "lens.csv")
    concepts = list(settings.study.concepts)
    groups = [(name, [name]) for name in (*concepts, *study.contrast_vectors)]
    groups.append(("random", measures.random_vectors(lens)))
    values: dict[str, str] = {
        "lens.origin": origin(renderer.results.source(path)),
        "lens.table": renderer.render("lens", f"lens-{study.key}", [path], rows=lens_rows(lens, groups), study=study),
    }
    variants = study.path("lens_variants.json")
    if renderer.results.expects(variants):
        found = renderer.results.json(variants)
        renderer.sources[f"lens-{study.key}.tex"].append(renderer.results.source(variants))
        values["lens.used"] = Latex(", ".join(map(token, found["used"])))
        if found["left_out"]:
            values["lens.left.out"] = Latex(", ".join(map(token, found["left_out"])))
    for scenario in dict.fromkeys(lens["scenario"]):
        curve = measures.lens_path(lens, concepts, str(scenario))
        if curve is not None:
            values |= {f"lens.{scenario}.{name}": value for name, value in curve_texts(curve).items()}
    for name in study.contrast_vectors:
        curve = measures.lens_path(lens, [name], "info")
        if curve is not None:
            values |= {f"lens.{name}.{key}": value for key, value in curve_texts(curve).items()}
    return values


def curve_texts(curve: measures.LensPath) -> dict[str, str]:
    """A lens curve in words and figures."""
    return {
        "peak": text.percent(curve.peak),
        "peak.layer": text.number(curve.peak_layer),
        "last": text.percent(curve.last),
        "last.base": text.percent(curve.last_base),
        "drop": text.points(curve.last - curve.peak),
    }


def lens_rows(lens: pd.DataFrame, groups: list[tuple[str, list[str]]]) -> list[dict[str, Any]]:
    """A row per vector and scenario that the table has."""
    scenarios = [str(name) for name in dict.fromkeys(lens["scenario"])]
    rows: list[dict[str, Any]] = []
    for label, members in groups:
        found = [(name, measures.lens_path(lens, members, name)) for name in scenarios]
        there = [(name, curve) for name, curve in found if curve is not None]
        rows += [
            {
                "vector": text.vector_label(label),
                "first": place == 0,
                "last_row": place == len(there) - 1,
                "scenario": text.scenario_label(name),
                **{key.replace(".", "_"): value for key, value in curve_texts(curve).items()},
            }
            for place, (name, curve) in enumerate(there)
        ]
    return rows


def render_content(renderer: Renderer, settings: Settings, study: Study) -> dict[str, str]:
    """The tables of a model's concept tokens and most boosted tokens, and whether concepts are named first."""
    content_path, boosted_path = study.path("content.csv"), study.path("boosted.csv")
    if not (renderer.results.expects(content_path) and renderer.results.expects(boosted_path)):
        return {}
    content = renderer.results.result(study.key, "content.csv")
    boosted = renderer.results.result(study.key, "boosted.csv")
    tokens, shown = concept_tokens(renderer.results, settings, study)
    concepts = list(settings.study.concepts)
    values: dict[str, str] = {
        "content.origin": origin(renderer.results.source(content_path)),
        "boosted.origin": origin(renderer.results.source(boosted_path)),
        "content.table": renderer.render(
            "content", f"content-{study.key}", [content_path, *shown], rows=content_rows(content, tokens), study=study
        ),
        "boosted.table": renderer.render(
            "boosted",
            f"boosted-{study.key}",
            [boosted_path],
            rows=boosted_rows(boosted, [*concepts, *study.contrast_vectors]),
            study=study,
        ),
    }
    last = content[(content["layer"] == content["layer"].max()) & (content["prompt"] == CONTENT_PROMPT)]
    named = [concept for concept in concepts if is_named_first(last, concept, tokens[concept])]
    values["content.named.count"] = str(len(named))
    values["content.named"] = text.listing(named)
    return values


def concept_tokens(results: Results, settings: Settings, study: Study) -> tuple[dict[str, str], list[str]]:
    """By concept, the token that stands for it, and the file that says so; the concept itself where none does."""
    path = study.path("content_tokens.json")
    if not results.expects(path):
        return {concept: concept for concept in settings.study.concepts}, []
    found = results.json(path)
    return {concept: str(found[concept]["token"]) for concept in settings.study.concepts}, [path]


def content_rows(content: pd.DataFrame, tokens: dict[str, str]) -> list[dict[str, Any]]:
    """A row per concept and prompt: its own token at the last layer, without and with its injection, and its peak."""
    rows: list[dict[str, Any]] = []
    for concept, own in tokens.items():
        mine = content[(content["vector"] == concept) & (content["token"] == own)]
        prompts = list(dict.fromkeys(mine["prompt"]))
        for prompt in prompts:
            curve = mine[mine["prompt"] == prompt].sort_values("layer")
            peak = curve.iloc[int(curve["p_injected"].to_numpy().argmax())]
            rows.append(
                {
                    "concept": concept,
                    "first": prompt == prompts[0],
                    "token": own,
                    "prompt": text.prompt_label(str(prompt)),
                    "base": text.percent(curve["p_base"].iloc[-1]),
                    "injected": text.percent(curve["p_injected"].iloc[-1]),
                    "peak": text.percent(peak["p_injected"]),
                    "peak_layer": text.number(peak["layer"]),
                }
            )
    return rows


def is_named_first(last: pd.DataFrame, concept: str, own: str) -> bool:
    """Whether, of all concepts' tokens at the last layer, the injected concept's is the likeliest under injection."""
    rows = last[last["vector"] == concept]
    return bool(len(rows)) and rows["token"].iloc[int(rows["p_injected"].to_numpy().argmax())] == own


def boosted_rows(boosted: pd.DataFrame, vectors: list[str]) -> list[dict[str, Any]]:
    """A row per vector and prompt: its tokens by rank, each with the shift of its log-odds in nats."""
    rows: list[dict[str, Any]] = []
    for vector in vectors:
        mine = boosted[boosted["vector"] == vector]
        prompts = list(dict.fromkeys(mine["prompt"]))
        for prompt in prompts:
            listed = mine[mine["prompt"] == prompt].sort_values("rank")
            rows.append(
                {
                    "vector": text.vector_label(vector),
                    "first": prompt == prompts[0],
                    "prompt": text.prompt_label(str(prompt)),
                    "tokens": [
                        (str(name), text.nats(shift))
                        for name, shift in zip(listed["token"], listed["log_odds_shift"], strict=True)
                    ],
                }
            )
    return rows
