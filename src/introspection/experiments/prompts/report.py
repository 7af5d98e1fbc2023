"""The prompts' lengths in the report: how the filler of each model was matched."""

from __future__ import annotations

from introspection.experiments.prompts.tables import PROMPT_TOKENS
from introspection.paper.models import ReportedModel
from introspection.paper.render import Renderer
from introspection.settings import Settings


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """How many tokens a model read for filler, where that was matched, and how many with what it is matched to."""
    if not renderer.results.expects(model.path(PROMPT_TOKENS.name)):
        return {}
    table = renderer.results.read(PROMPT_TOKENS, model.key)
    values: dict[str, str] = {}
    for row in table[table["matched_to"] != ""].to_dict("records"):
        (like,) = table.loc[table["prompt"] == row["matched_to"], "tokens_turn_1"]
        values |= {
            "filler.prompt": renderer.prompts.label(row["prompt"]),
            "filler.tokens": str(row["tokens_turn_1"]),
            "filler.like": str(like),
            "filler.change": change(row["words_changed"]),
        }
    return values


def change(words: int) -> str:
    """What was done to a text of which so many words are more than there were."""
    if words == 0:
        return "as written"
    return f"{abs(words)} word{'s' * (abs(words) != 1)} {'added' if words > 0 else 'cut'}"
