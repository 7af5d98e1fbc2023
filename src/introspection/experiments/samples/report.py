"""Replies to the top-of-mind question in the report: of models with a finetune, what its persona does to them."""

from __future__ import annotations

from typing import Any

from introspection import names
from introspection.experiments.samples.tables import SAMPLES
from introspection.paper.models import reported_models
from introspection.paper.render import Renderer
from introspection.settings import Settings

SHOWN = (names.NOTHING, names.FINETUNE, names.PERSONA)
"""The model as it is, its finetune, and the model under the persona vector. All other replies are in the companion."""


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """The table of replies over all models that have a finetune; nothing where none has."""
    results = renderer.results
    rows: list[dict[str, Any]] = []
    paths = []
    for model in reported_models(settings):
        path = model.path(SAMPLES.name)
        if not (model.settings.contrast and results.expects(path)):
            continue
        samples = results.read(SAMPLES, model.key)
        paths.append(path)
        for number, row in enumerate(samples[samples["intervention"].isin(SHOWN)].to_dict("records")):
            rows.append(
                {
                    "model": model.key if number == 0 else "",
                    "what": names.vector_label(row["intervention"]),
                    "text": row["text"],
                }
            )
    return {"samples.table": renderer.render("replies", "replies", paths, rows=rows)} if rows else {}
