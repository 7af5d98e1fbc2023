"""Replies to the top-of-mind question in the report: ours and the post's, in boxes."""

from __future__ import annotations

from typing import Any

import pandas as pd

from introspection import names
from introspection.experiments.samples.tables import SAMPLES
from introspection.paper import wording
from introspection.paper.models import ReportedModel
from introspection.paper.render import Renderer, origin
from introspection.rereading import published
from introspection.settings import Settings


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The boxes of a model's replies: nothing injected and concepts, and those that come of a finetune."""
    path = model.path(SAMPLES.name)
    if not renderer.results.expects(path):
        return {}
    samples = renderer.results.read(SAMPLES, model.key)
    values: dict[str, str] = {"samples.origin": origin(renderer.results.source(path))}
    contrast = of_finetune(samples)
    for name, part in (("samples", samples[~contrast]), ("samples.contrast", samples[contrast])):
        if len(part):
            file = f"{name.replace('.', '-')}-{model.key}"
            values[f"{name}.table"] = renderer.render("replies", file, [path], replies=reply_rows(part))
    return values


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """How replies are sampled, and the boxes of those that the post shows, with its swept layers apart."""
    samples = published.post_samples(renderer.results)
    contrast, swept = of_finetune(samples), samples["swept"]
    parts = {
        "post.samples": samples[~contrast & ~swept],
        "post.samples.contrast": samples[contrast & ~swept],
        "post.samples.swept": samples[swept],
    }
    values: dict[str, str] = {
        name: renderer.render("replies", name.replace(".", "-"), [published.SAMPLES_PATH], replies=reply_rows(part))
        for name, part in parts.items()
    }
    values["samples.tokens"] = str(settings.samples.max_new_tokens)
    values["samples.temperature"] = wording.number(settings.samples.temperature)
    if settings.samples.temperature == 0:
        values["samples.greedy"] = "yes"
    return values


def of_finetune(samples: pd.DataFrame) -> pd.Series[bool]:
    """Which replies come of a finetune: its own, and those under the persona vector."""
    return samples["intervention"].map(lambda name: names.kind_of(name) in ("persona", "finetune")).astype(bool)


def reply_rows(samples: pd.DataFrame) -> list[dict[str, Any]]:
    """What was done and what the model said, a row per reply."""
    return [
        {
            "what": intervention_label(row["intervention"], row["strength"]),
            "how": how(row["strength"], row["first_layer"], row["last_layer"]),
            "text": row["text"],
        }
        for row in samples.to_dict("records")
    ]


def intervention_label(intervention: str, strength: float) -> str:
    """An intervention in words; a persona vector of negative strength is a reversed one."""
    reverses = intervention == names.PERSONA and strength < 0
    return names.vector_label(names.ANTI_PERSONA if reverses else intervention)


def how(strength: float, first: Any, last: Any) -> str:
    """Strength and layers of an injection, or nothing where there was none."""
    if pd.isna(strength) or strength == 0:
        return ""
    return f"strength {wording.number(strength)}, layers {wording.layers(first, last)}"
