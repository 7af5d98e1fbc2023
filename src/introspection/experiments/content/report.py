"""Experiment 6 in the report: what the injected thought is said to be about, beside what the post says of it."""

from __future__ import annotations

from dataclasses import dataclass

from introspection import names
from introspection.experiments.content.tables import BOOSTED, CONTENT
from introspection.paper import wording
from introspection.paper.models import ReportedModel
from introspection.paper.prompts import Prompts
from introspection.paper.results import Results

TOKENS = "content_tokens.json"
THEIRS = "Anthrop"  # the token that the post names
SHOWN = 3  # boosted tokens


@dataclass(frozen=True)
class ConceptToken:
    """Of a concept in `content_tokens.json`: the token that stands for it."""

    token: str


def claims(results: Results, prompts: Prompts, model: ReportedModel) -> dict[str, str]:
    """How likely the concepts' own tokens become, and which tokens an injection boosts, under the main prompt."""
    paths = [model.path(name) for name in (CONTENT.name, BOOSTED.name, TOKENS)]
    if not results.expects(*paths):
        return {}
    content, boosted = results.read(CONTENT, model.key), results.read(BOOSTED, model.key)
    tokens = results.json(paths[2], dict[str, ConceptToken])
    concepts = names.of_kind("concept", content["vector"])
    asked = content[content["prompt"] == prompts.main]
    own = [
        float(asked.loc[(asked["vector"] == concept) & (asked["token"] == tokens[concept].token), "p_injected"].max())
        for concept in concepts
    ]
    most = boosted[(boosted["prompt"] == prompts.main) & boosted["vector"].isin(concepts)]
    common = most.groupby("token")["vector"].nunique().sort_values(ascending=False, kind="stable").index[:SHOWN]
    has = most["token"].astype(str).str.strip().eq(THEIRS).any()
    return {
        "content_peak, cat": f"{wording.share(min(own))} to {wording.share(max(own))}",
        "boosted_tokens": ", ".join(f"“{token}”" for token in common),
        "boosted_tokens, info": "among them" if has else "not among them",
    }
