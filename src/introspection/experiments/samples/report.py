"""Replies to the top-of-mind question in the report: ours and the post's, in boxes."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from introspection.paper import wording as text
from introspection.paper.models import Study
from introspection.paper.render import Renderer, origin
from introspection.rereading import published
from introspection.settings import Settings

TOP_OF_MIND = "top_of_mind"


def render_replies(renderer: Renderer, settings: Settings, study: Study) -> dict[str, str]:
    """The boxes of a model's replies: nothing injected and concepts, and those that come of a finetune."""
    path = study.path("samples.csv")
    if not renderer.results.expects(path):
        return {}
    samples = renderer.results.result(study.key, "samples.csv")
    values: dict[str, str] = {"samples.origin": origin(renderer.results.source(path))}
    contrast = samples["intervention"].isin(["finetune", "persona", "anti_persona"])
    for name, part in (("samples.table", samples[~contrast]), ("samples.contrast.table", samples[contrast])):
        if len(part):
            file = f"{name.removesuffix('.table').replace('.', '-')}-{study.key}"
            values[name] = renderer.render("replies", file, [path], replies=reply_rows(part))
    return values


def render_post_replies(renderer: Renderer) -> dict[str, str]:
    """The boxes of the replies that the post shows, those with its swept layers apart."""
    samples = published.published_samples(renderer.results)
    samples = samples[samples["prompt"] == TOP_OF_MIND]
    contrast = samples["intervention"].isin(["finetune", "persona"])
    parts = {
        "post-samples": samples[~contrast & ~samples["swept"]],
        "post-samples-contrast": samples[contrast & ~samples["swept"]],
        "post-samples-swept": samples[samples["swept"]],
    }
    path = f"{published.FOLDER}/samples.csv"
    return {
        name.replace("-", "."): renderer.render("replies", name, [path], replies=reply_rows(part))
        for name, part in parts.items()
    }


def reply_rows(samples: pd.DataFrame) -> list[dict[str, Any]]:
    """What was done and what the model said, a row per reply."""
    return [
        {
            "what": intervention_label(str(row["intervention"]), float(row["strength"])),
            "how": how(float(row["strength"]), float(row["first_layer"]), float(row["last_layer"])),
            "text": row["text"],
        }
        for row in samples.to_dict("records")
    ]


def intervention_label(intervention: str, strength: float) -> str:
    """An intervention in words."""
    if intervention == "none":
        return "nothing injected"
    if intervention == "anti_persona" or (intervention == "persona" and strength < 0):
        return "persona vector reversed"
    return text.vector_label(intervention)


def how(strength: float, first: float, last: float) -> str:
    """Strength and layers of an injection, or nothing where there was none."""
    if math.isnan(strength) or math.isnan(first):
        return ""
    return f"strength {text.number(strength)}, layers {text.layers(first, last)}"
