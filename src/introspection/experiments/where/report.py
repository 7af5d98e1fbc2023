"""Where in the report: how often the model finds what was injected into, beside how often it finds it abstract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from introspection.experiments.where.tables import SUMMARY
from introspection.paper import wording
from introspection.paper.findings import Finding, Number
from introspection.paper.models import ReportedModel
from introspection.paper.render import Renderer
from introspection.paper.results import Results
from introspection.settings import Settings
from introspection.stimuli.where import AIMS


def findings(results: Results, settings: Settings, model: ReportedModel) -> list[Finding]:
    """For each task, how often the concepts' place is chosen as it was asked for, and as the most abstract part."""
    path = model.path(SUMMARY.name)
    if not results.expects(path):
        return []
    return [
        Finding(
            test="Does it know where?",
            measured=f"the {row['task']} injected into, chosen as such against as the most abstract one",
            rule=f"chance {wording.share(row['chance'])}",
            number=f"{wording.share(row['accuracy_injected'])} against {wording.share(row['accuracy_abstract'])}",
            interval=f"{_interval(row, 'injected')} against {_interval(row, 'abstract')}",
            numbers=(_number(row, "injected", "asked for it"), _number(row, "abstract", "most abstract")),
            source=path,
        )
        for row in _of_concepts(results, model.key)
    ]


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The most that a model puts on the options that it chooses from."""
    if not renderer.results.expects(model.path(SUMMARY.name)):
        return {}
    summary = renderer.results.read(SUMMARY, model.key)
    return {"where.mass": wording.share(summary.loc[summary["kind"] == "concept", "answer_mass_injected"].max())}


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """How the choices are tested, and what organisms choose that are no models of the study."""
    located = [
        {
            "name": name,
            "trained": settings.organisms.trained[name].batch.places > 0,
            "tasks": [_told(row) for row in _of_concepts(renderer.results, f"beyond/{name}")],
        }
        for name in settings.examined
        if renderer.results.expects(f"results/beyond/{name}/{SUMMARY.name}")
    ]
    values = {
        "where.resamples": str(settings.where.resamples),
        "where.permutations": str(settings.where.permutations),
    }
    return values | ({"where.located": renderer.phrase("located", located=located)} if located else {})


def _of_concepts(results: Results, key: str) -> list[dict[Any, Any]]:
    """The rows of a summary about concepts, a task each: the choices as they are, which come first."""
    summary = results.read(SUMMARY, key)
    raw = summary[(summary["kind"] == "concept") & (summary["readout"] == summary["readout"].iloc[0])]
    return list(raw.to_dict("records"))


def _told(row: Mapping[Any, Any]) -> dict[str, str]:
    """How often the part injected into is chosen in a task, asked for it and for the most abstract one."""
    chosen: dict[str, str] = {aim: f"{wording.share(row[f'accuracy_{aim}'])} {_interval(row, aim)}" for aim in AIMS}
    return {"task": row["task"], "chance": wording.share(row["chance"]), **chosen}


def _interval(row: Mapping[Any, Any], aim: str) -> str:
    low, high = row[f"accuracy_{aim}_low"], row[f"accuracy_{aim}_high"]
    return "–" if pd.isna(low) else f"[{100 * low:.0f}, {100 * high:.0f}]"


def _number(row: Mapping[Any, Any], aim: str, name: str) -> Number:
    value, low, high = (float(row[f"accuracy_{aim}{end}"]) for end in ("", "_low", "_high"))
    return Number(name, value, low, high, float(row["chance"]))
