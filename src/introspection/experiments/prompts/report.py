"""The prompts' lengths in the report: a table over all models, and how the filler of each was matched."""

from __future__ import annotations

from typing import Any

import pandas as pd

from introspection.experiments.prompts.tables import PROMPT_TOKENS
from introspection.injection.filler import FILLER
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.prompts import Prompts
from introspection.paper.render import Renderer
from introspection.settings import Settings


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """What a model read for filler, where its length was matched."""
    results, paths = renderer.results, [model.path(PROMPT_TOKENS.name), model.path(FILLER)]
    if not results.expects(*paths):
        return {}
    table = results.read(PROMPT_TOKENS, model.key)
    turns_1 = results.json(paths[1], dict[str, str])
    values: dict[str, str] = {}
    for row in table[table["matched_to"] != ""].to_dict("records"):
        (like,) = table.loc[table["prompt"] == row["matched_to"], "tokens_turn_1"]
        values |= {
            "filler.prompt": renderer.prompts.label(row["prompt"]),
            "filler.tokens": str(row["tokens_turn_1"]),
            "filler.like": str(like),
            "filler.written": str(row["tokens_turn_1_as_written"]),
            "filler.change": change(row["words_changed"]),
        }
    if turns_1:
        turns = [(renderer.prompts.label(prompt), text) for prompt, text in turns_1.items()]
        values["filler.text"] = renderer.render("filler", f"filler-{model.key}", paths, turns=turns, model=model)
    return values


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """The table of lengths over all models and prompts."""
    results = renderer.results
    models = [model for model in reported_models(settings) if results.expects(model.path(PROMPT_TOKENS.name))]
    if not models:
        return {}
    sources = [model.path(name) for model in models for name in (PROMPT_TOKENS.name, FILLER)]
    rows = [
        row for model in models for row in length_rows(model, results.read(PROMPT_TOKENS, model.key), renderer.prompts)
    ]
    return {"prompt.tokens.table": renderer.render("prompt_tokens", "prompt-tokens", sources, rows=rows)}


def length_rows(model: ReportedModel, table: pd.DataFrame, prompts: Prompts) -> list[dict[str, Any]]:
    """A row for each prompt of a model, in the order of the file."""
    return [
        {
            "first": number == 0,
            "model": model.key,
            "prompt": prompts.label(row["prompt"]),
            "turn_1": str(row["tokens_turn_1"]),
            "all": str(row["tokens"]),
            "written": str(row["tokens_turn_1_as_written"]),
            "change": change(row["words_changed"]),
        }
        for number, row in enumerate(table.to_dict("records"))
    ]


def change(words: int) -> str:
    """What was done to a text of which so many words are more than there were."""
    if words == 0:
        return "as written"
    return f"{abs(words)} word{'s' * (abs(words) != 1)} {'added' if words > 0 else 'cut'}"
