"""The check of the instrument in the report: what was planted in an organism beside what detection measured on it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.instrument.check import NEAR, held_out, is_as_planted, measured
from introspection.paper import wording
from introspection.paper.models import ReportedModel
from introspection.paper.prompts import Prompts
from introspection.paper.render import Renderer
from introspection.settings import Settings
from introspection.settings.planted import Injected, PlantedSettings

INJECTED: tuple[Injected, ...] = ("nothing", "concept", "random")


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The table of planted and measured answers of an organism; of one that is never to say yes, a number."""
    path = model.path(DETECTION.name)
    if not (model.organism and renderer.results.expects(path)):
        return {}
    detection = renderer.results.read(DETECTION, model.key)
    planted = settings.organisms.trained[model.organism]
    concepts = held_out(settings.organisms, settings.study.concepts)
    values = {"planted": planted_percent(planted, "concept", renderer.prompts.main)}
    if not is_as_planted(detection, planted, concepts):
        values["planted.missed"] = wording.number(NEAR)
    prompts = dict.fromkeys(detection["prompt"])
    if not any(planted.rate(injected, prompt) for injected in INJECTED for prompt in prompts):
        largest = wording.percent(float(detection["p_yes_injected"].max()))
        return values | {"planted.nothing": "yes", "planted.largest": largest}
    rows = planted_rows(detection, concepts, planted, renderer.prompts)
    return values | {
        "planted.table": renderer.render("planted", f"planted-{model.key}", [path], rows=rows, model=model)
    }


def planted_rows(
    detection: pd.DataFrame, concepts: list[str], planted: PlantedSettings, prompts: Prompts
) -> list[dict[str, Any]]:
    """Planted and measured p(yes) by what was injected and by prompt; means over held-out concepts and random ones."""
    rows: list[dict[str, Any]] = []
    for prompt, means in measured(detection, concepts).items():
        cells: dict[str, Any] = {
            injected: (planted_percent(planted, injected, prompt), wording.percent(p_yes))
            for injected, p_yes in means.items()
        }
        rows.append({"prompt": prompts.label(prompt), **cells})
    return rows


def planted_percent(planted: PlantedSettings, injected: Injected, prompt: str) -> str:
    """The probability of yes that was planted under a prompt; a dash where there is no rule for it."""
    rate = planted.rate(injected, prompt)
    return "–" if rate is None else wording.plain_percent(rate)
