"""The battery in the report: tables of what controls explain and what they leave, and a figure over all models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from introspection import names
from introspection.experiments.battery.figure import battery_figure
from introspection.experiments.battery.tables import BATTERY, FIT, PHRASINGS
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.prompts import Prompts
from introspection.paper.render import Renderer, origin
from introspection.paper.summaries import means_last, members
from introspection.settings import Settings

KINDS: Mapping[names.Kind, str] = {"concept": "concepts", "random": "random directions"}
"""Of which vectors the prose gives means."""


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The tables of a model, by injection and by wording, and what the prose says of it."""
    results, paths = renderer.results, [model.path(table.name) for table in (FIT, PHRASINGS, BATTERY)]
    if not results.expects(*paths):
        return {}
    fit, phrasings, battery = (results.read(table, model.key) for table in (FIT, PHRASINGS, BATTERY))
    rows, wordings = fit_rows(fit, renderer.prompts), phrasing_rows(phrasings, battery)
    return {
        "battery.table": renderer.render("battery", f"battery-{model.key}", paths[:1], rows=rows, model=model),
        "battery.phrasings.table": renderer.render(
            "battery_phrasings", f"battery-phrasings-{model.key}", paths[1:], rows=wordings, model=model
        ),
        "battery.origin": origin(results.source(paths[2])),
        "battery.means": renderer.phrase("battery_means", rows=mean_rows(fit)),
    }


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """How many questions there are, how sure intervals are to be, and the models that were asked."""
    items = renderer.stimuli.battery().items
    wordings = {item.text for item in items if item.polarity}
    models = [model.key for model in reported_models(settings) if renderer.results.expects(model.path(FIT.name))]
    values: dict[str, str] = {
        "battery.phrasings": wording.count(len(wordings)),
        "battery.controls": str(len({item.text for item in items} - wordings)),
        "battery.confidence": wording.plain_percent(settings.battery.confidence),
        "battery.resamples": str(settings.battery.resamples),
    }
    return values | ({"battery.models": wording.listing(models)} if models else {})


def figures_of_all(gallery: Gallery, settings: Settings) -> None:
    """Controls against detection in every model."""
    models = [model for model in reported_models(settings) if gallery.results.expects(model.path(FIT.name))]
    if models:
        fits = [(model.key, gallery.results.read(FIT, model.key)) for model in models]
        gallery.add("battery", battery_figure(fits, gallery.look), [model.path(FIT.name) for model in models])


def fit_rows(fit: pd.DataFrame, prompts: Prompts) -> list[dict[str, Any]]:
    """A row per vector, prompt and kind of answers, random directions as their mean, which has no interval."""
    places = members(fit["vector"])
    cells = list(dict.fromkeys(zip(fit["prompt"], fit["answers"], strict=True)))
    several = fit["prompt"].nunique() > 1
    rows: list[dict[str, Any]] = []
    for place in means_last(places):
        for prompt, answers in cells:
            part = fit[fit["vector"].isin(places[place]) & (fit["prompt"] == prompt) & (fit["answers"] == answers)]
            mean = part.select_dtypes("number").mean()
            alone = len(part) == 1
            rows.append(
                {
                    "vector": names.vector_label(place) + (f", {prompts.label(prompt)}" if several else ""),
                    "first": answers == cells[0][1],
                    "answers": answers,
                    "bias": wording.nats(mean["bias"]),
                    "slope": _plain(mean["slope"]),
                    "signed": wording.nats(mean["signed_shift"]),
                    "predicted": wording.nats(mean["predicted"]),
                    "residual": wording.nats(mean["residual"]),
                    "bias_interval": _interval(mean, "bias") if alone else "–",
                    "slope_interval": _interval(mean, "slope", _plain) if alone else "–",
                    "residual_interval": _interval(mean, "residual") if alone else "–",
                    "accuracy": wording.share(mean["accuracy_injected"]),
                    "mass": wording.share(mean["control_mass_injected"]),
                }
            )
    return rows


def phrasing_rows(phrasings: pd.DataFrame, battery: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per wording and format, in the order of the file: means over the concepts, and over random directions."""
    keys = ["vector", "prompt", "item", "format"]
    table = phrasings.merge(battery[[*keys, "p_yes_base", "p_yes_injected"]], on=keys, validate="one_to_one")
    concepts, random = (table[table["vector"].isin(names.of_kind(kind, table["vector"]))] for kind in KINDS)
    rows = []
    for cell, part in concepts.groupby(keys[1:], sort=False):
        mean = part.select_dtypes("number").mean()
        others = random[(random[keys[1:]] == list(cell)).all(axis=1)]
        rows.append(
            {
                "item": str(part["item"].iloc[0]),
                "format": str(part["format"].iloc[0]).replace("_", " "),
                "sign": "+" if mean["polarity"] > 0 else "−",
                "base": wording.percent(mean["p_yes_base"]),
                "injected": wording.percent(mean["p_yes_injected"]),
                **{name: wording.nats(mean[name]) for name in ("shift", "predicted", "residual")},
                "random": wording.nats(float(others["residual"].mean())),
            }
        )
    return rows


def mean_rows(fit: pd.DataFrame) -> list[dict[str, Any]]:
    """For the prose, each kind of answers: the unsteered model, and means over the concepts and random directions."""
    rows = []
    for answers, part in fit.groupby("answers", sort=False):
        of_kinds = {kind: part[part["vector"].isin(names.of_kind(kind, part["vector"]))] for kind in KINDS}
        rows.append(
            {
                "answers": answers,
                "accuracy": wording.share(part["accuracy_base"].mean()),
                "mass": wording.share(part["control_mass_base"].mean()),
                "kinds": [_means(KINDS[kind], cells) for kind, cells in of_kinds.items() if len(cells)],
            }
        )
    return rows


def _means(name: str, cells: pd.DataFrame) -> dict[str, str]:
    columns: Sequence[str] = ("control_shift", "detection_shift", "signed_shift", "predicted", "residual")
    return {
        "name": name,
        "count": str(len(cells)),
        "above": str(int((cells["residual_low"] > 0).sum())),
        "below": str(int((cells["residual_high"] < 0).sum())),
        **{column.removesuffix("_shift"): wording.nats(cells[column].mean()) for column in columns},
    }


def _interval(row: pd.Series, name: str, form: Callable[[float], str] = wording.nats) -> str:
    return f"[{form(row[f'{name}_low'])}, {form(row[f'{name}_high'])}]"


def _plain(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
