"""Experiment 6 in the report: what the injected thought is said to be about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from introspection import names
from introspection.experiments.content.figure import content_figure
from introspection.experiments.content.tables import BOOSTED, CONTENT
from introspection.injection.dose import QUESTIONS
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.models import ReportedModel
from introspection.paper.prompts import Prompts
from introspection.paper.render import Renderer, origin
from introspection.paper.results import Results
from introspection.settings import Settings

TOKENS = "content_tokens.json"


@dataclass(frozen=True)
class ConceptToken:
    """Of a concept in `content_tokens.json`: the token that stands for it."""

    token: str


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The tables of a model's concept tokens and most boosted tokens, and whether concepts are named first."""
    results, prompts = renderer.results, renderer.prompts
    content_path, boosted_path = model.path(CONTENT.name), model.path(BOOSTED.name)
    if not results.expects(content_path, boosted_path):
        return {}
    content, boosted = results.read(CONTENT, model.key), results.read(BOOSTED, model.key)
    tokens, tokens_paths = concept_tokens(results, content, model)
    rows, ranked = content_rows(content, tokens, prompts), boosted_rows(boosted, prompts)
    sources = [content_path, *tokens_paths]
    last = content[(content["layer"] == content["layer"].max()) & (content["prompt"] == prompts.main)]
    named = [concept for concept, token in tokens.items() if is_named_first(last, concept, token)]
    return {
        "content.origin": origin(results.source(content_path)),
        "boosted.origin": origin(results.source(boosted_path)),
        "content.table": renderer.render("content", f"content-{model.key}", sources, rows=rows, model=model),
        "boosted.table": renderer.render("boosted", f"boosted-{model.key}", [boosted_path], rows=ranked, model=model),
        "content.named.count": str(len(named)),
        "content.named": wording.listing(named),
    }


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """How many boosted tokens are listed."""
    return {"boosted.count": str(settings.content.boosted_tokens)}


def figures(gallery: Gallery, settings: Settings, model: ReportedModel) -> None:
    """The concept tokens through a model's layers."""
    path = model.path(CONTENT.name)
    if not gallery.results.expects(path):
        return
    content = gallery.results.read(CONTENT, model.key)
    tokens, tokens_paths = concept_tokens(gallery.results, content, model)
    layers = model.dose(gallery.results).layers
    vectors = list(without_random(content)["vector"].unique())
    figure = content_figure(content, vectors, tokens, layers, gallery.look)
    gallery.add(f"content-{model.key}", figure, [path, *tokens_paths, model.path(QUESTIONS)])


def without_random(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that the paper has room for."""
    return table[~table["vector"].isin(names.of_kind("random", table["vector"]))]


def concept_tokens(results: Results, content: pd.DataFrame, model: ReportedModel) -> tuple[dict[str, str], list[str]]:
    """By concept, the token that stands for it, and the file that says so; the concept itself where none does."""
    path, concepts = model.path(TOKENS), names.of_kind("concept", content["vector"])
    if not results.expects(path):
        return {concept: concept for concept in concepts}, []
    tokens = results.json(path, dict[str, ConceptToken])
    return {concept: tokens[concept].token for concept in concepts}, [path]


def content_rows(content: pd.DataFrame, tokens: dict[str, str], prompts: Prompts) -> list[dict[str, Any]]:
    """A row per concept and prompt: its token at the last layer, without and with its injection, and its peak."""
    rows: list[dict[str, Any]] = []
    for concept, token in tokens.items():
        curves = content[(content["vector"] == concept) & (content["token"] == token)].sort_values("layer")
        asked = prompts.ordered(curves["prompt"])
        for prompt in asked:
            curve = curves[curves["prompt"] == prompt]
            peak = curve.iloc[int(curve["p_injected"].to_numpy().argmax())]
            rows.append(
                {
                    "concept": concept,
                    "first": prompt == asked[0],
                    "token": token,
                    "prompt": prompts.label(prompt),
                    "base": wording.percent(curve["p_base"].iloc[-1]),
                    "injected": wording.percent(curve["p_injected"].iloc[-1]),
                    "peak": wording.percent(peak["p_injected"]),
                    "peak_layer": str(peak["layer"]),
                }
            )
    return rows


def is_named_first(last: pd.DataFrame, concept: str, token: str) -> bool:
    """Whether, of all concepts' tokens at the last layer, the injected concept's is the likeliest under injection."""
    rows = last[last["vector"] == concept]
    return bool(len(rows)) and rows["token"].iloc[int(rows["p_injected"].to_numpy().argmax())] == token


def boosted_rows(boosted: pd.DataFrame, prompts: Prompts) -> list[dict[str, Any]]:
    """A row per vector and prompt: its tokens by rank, each with the shift of its log-odds in nats."""
    rows: list[dict[str, Any]] = []
    for vector, by_vector in without_random(boosted).groupby("vector", sort=False):
        asked = prompts.ordered(by_vector["prompt"])
        for prompt in asked:
            ranked = by_vector[by_vector["prompt"] == prompt].sort_values("rank")
            shifts = [wording.nats(shift) for shift in ranked["log_odds_shift"]]
            rows.append(
                {
                    "vector": names.vector_label(str(vector)),
                    "first": prompt == asked[0],
                    "prompt": prompts.label(prompt),
                    "tokens": list(zip(ranked["token"], shifts, strict=True)),
                }
            )
    return rows
