"""State or text in the report: what the words do to the answer, what the injection does, and both together."""

from __future__ import annotations

from typing import Any

import pandas as pd

from introspection import names
from introspection.experiments.written.statistics import ARMS, effects
from introspection.experiments.written.tables import WRITTEN
from introspection.paper import wording
from introspection.paper.models import ReportedModel
from introspection.paper.prompts import Prompts
from introspection.paper.render import Renderer, origin
from introspection.settings import Settings

LABELS = {
    "text": "written",
    "state": "injected",
    "both": "written and injected",
    "random": f"written, {names.vector_label(names.random_name(1))} injected",
}


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The table of a model, and what the words and the injection do under the main prompt."""
    path = model.path(WRITTEN.name)
    if not renderer.results.expects(path):
        return {}
    found = effects(renderer.results.read(WRITTEN, model.key))
    rows = effect_rows(found, renderer.prompts)
    values: dict[str, str] = {
        "written.table": renderer.render("written", f"written-{model.key}", [path], rows=rows, model=model),
        "written.origin": origin(renderer.results.source(path)),
    }
    main = found[found["prompt"] == renderer.prompts.main].groupby("arm")["shift"].mean()
    return values | {f"written.{arm}": wording.nats(main[arm]) for arm in ("text", "state", "both") if arm in main}


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """How many sentences there are."""
    return {"written.sentences": wording.count(len(renderer.stimuli.written().sentences))}


def effect_rows(found: pd.DataFrame, prompts: Prompts) -> list[dict[str, Any]]:
    """A row per prompt and arm: means over concepts and sentences, and the least and largest shift among them."""
    rows = []
    for prompt, of_prompt in found.groupby("prompt", sort=False):
        for arm in ARMS:
            part = of_prompt[of_prompt["arm"] == arm]
            if len(part):
                rows.append(
                    {
                        "prompt": prompts.label(str(prompt)),
                        "first": arm == ARMS[0],
                        "arm": LABELS[arm],
                        "base": wording.percent(part["p_yes_neither"].mean()),
                        "yes": wording.percent(part["p_yes"].mean()),
                        "shift": wording.nats(part["shift"].mean()),
                        "low": wording.nats(part["shift"].min()),
                        "high": wording.nats(part["shift"].max()),
                    }
                )
    return rows
