"""The suffixes in the report: how far an answer hangs on them, and where the rules for a direction's sign part."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from introspection.experiments.suffixes.figure import audit_figure, shift_figure
from introspection.experiments.suffixes.resampling import other_sign
from introspection.experiments.suffixes.tables import ASKED, AUDIT, INTERVALS
from introspection.experiments.sweep.tables import SWEEP
from introspection.injection.dose import QUESTIONS
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.models import ReportedModel
from introspection.paper.prompts import Prompts
from introspection.paper.render import Renderer, origin
from introspection.settings import DataSettings, Settings

FILES = (AUDIT.name, ASKED.name, INTERVALS.name)


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The table of a model's intervals, and what the prose says of them and of the audit of signs."""
    results, paths = renderer.results, [model.path(name) for name in FILES]
    if not results.expects(*paths):
        return {}
    audit, intervals = results.read(AUDIT, model.key), results.read(INTERVALS, model.key)
    layers = model.dose(results).layers
    rows = interval_rows(intervals, audit, layers, renderer.prompts)
    table = renderer.render("suffixes", f"suffixes-{model.key}", [paths[0], paths[2]], rows=rows, model=model)
    values: dict[str, str] = {
        "suffixes.table": table,
        "suffixes.origin": origin(results.source(paths[2])),
        "suffixes.measured": origin(results.source(paths[1])),
        **interval_values(intervals, renderer.prompts),
        **audit_values(audit, layers),
    }
    sweep = model.path(SWEEP.name)
    if results.expects(sweep):
        values |= sweep_values(audit, results.read(SWEEP, model.key))
    return values


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """Which suffixes there are, how often they are drawn again, and the rule for the sign."""
    rule = settings.suffixes
    return {
        **source_values(settings.data),
        "suffixes.resamples": wording.count(rule.resamples),
        "suffixes.prompts": wording.listing([renderer.prompts.label(prompt) for prompt in rule.prompts]),
        "suffixes.confidence": wording.plain_percent(rule.confidence),
        **({"sign.mean": "yes"} if settings.study.sign == "mean" else {}),
    }


def source_values(data: DataSettings) -> dict[str, str]:
    """Where the suffixes come from: a file of the user's own, or the study; nothing for the builtin ones."""
    if data.suffixes:
        return {"suffixes.own": data.suffixes}
    return {"suffixes.original": "yes"} if data.source == "original" else {}


def figures(gallery: Gallery, settings: Settings, model: ReportedModel) -> None:
    """The audit of a model's signs, and its answers under vectors of other suffixes."""
    results, (audit, asked, intervals) = gallery.results, (model.path(name) for name in FILES)
    if not results.expects(audit, asked, intervals):
        return
    strips = audit_figure(results.read(AUDIT, model.key), model.dose(results).layers, gallery.look)
    gallery.add(f"signs-{model.key}", strips, [audit, model.path(QUESTIONS)])
    tables = results.read(ASKED, model.key), results.read(INTERVALS, model.key)
    shifts = shift_figure(*tables, other_sign(settings.study.sign), gallery.look)
    gallery.add(f"suffixes-{model.key}", shifts, [asked, intervals])


def interval_rows(
    intervals: pd.DataFrame, audit: pd.DataFrame, layers: tuple[int, int], prompts: Prompts
) -> list[dict[str, Any]]:
    """A row per concept and prompt; a concept's first has the injected blocks where the halves and the rules part."""
    rows: list[dict[str, Any]] = []
    for vector, cells in intervals.groupby("vector", sort=False):
        blocks = _within(audit[audit["vector"] == vector], layers)
        for place, row in enumerate(cells.to_dict("records")):
            rows.append(
                {
                    "vector": vector,
                    "first": place == 0,
                    "prompt": prompts.label(row["prompt"]),
                    **{
                        name: wording.nats(row[name])
                        for name in ("shift", "shift_half_1", "shift_half_2", "halves_difference", "shift_other_sign")
                    },
                    "interval": _interval(row) if row["resamples"] else "–",
                    "halves": f"{blocks['cosine_halves'].min():.2f}".replace("-", "−"),
                    "parted": str(int((~blocks["rules_agree"]).sum())),
                }
            )
    return rows


def interval_values(intervals: pd.DataFrame, prompts: Prompts) -> dict[str, str]:
    """The widest interval, the halves that are furthest apart, and how often they differ in the sign of the shift."""
    resampled = intervals[intervals["resamples"] > 0]
    wide = _highest(resampled, resampled["shift_high"] - resampled["shift_low"])
    apart = _highest(intervals, intervals["halves_difference"].abs())
    one, two = intervals["shift_half_1"], intervals["shift_half_2"]
    turned = (one * two < 0) & (one.abs() >= wording.UNCHANGED_NATS) & (two.abs() >= wording.UNCHANGED_NATS)
    other = (intervals["shift_other_sign"] - intervals["shift"]).abs()
    moved = _highest(intervals, other)
    values: dict[str, str] = {
        "suffixes.cells": str(len(intervals)),
        "suffixes.turned": str(int(turned.sum())),
        "suffixes.wide": wide["vector"],
        "suffixes.wide.prompt": prompts.label(wide["prompt"]),
        "suffixes.wide.shift": wording.nats(wide["shift"]),
        "suffixes.wide.interval": _interval(wide),
        "suffixes.apart": apart["vector"],
        "suffixes.apart.prompt": prompts.label(apart["prompt"]),
        "suffixes.apart.halves": " and ".join(wording.nats(apart[f"shift_{half}"]) for half in ("half_1", "half_2")),
    }
    if other.max() >= wording.UNCHANGED_NATS:
        values |= {
            "signs.moved": moved["vector"],
            "signs.moved.prompt": prompts.label(moved["prompt"]),
            "signs.moved.shift": wording.nats(moved["shift_other_sign"]),
            "signs.moved.study": wording.nats(moved["shift"]),
        }
    return values


def audit_values(audit: pd.DataFrame, layers: tuple[int, int]) -> dict[str, str]:
    """In how many directions the rules part and the halves point apart, in all and in the model's own layers."""
    own = _within(audit, layers)
    least = _highest(own, -own["cosine_halves"])
    return {
        "suffixes.pairs": str(audit["pairs"].iloc[0]),
        "signs.directions": str(len(audit)),
        "signs.parted": str(int((~audit["rules_agree"]).sum())),
        "signs.opposed": str(int((audit["cosine_halves"] < 0).sum())),
        "signs.own.directions": str(len(own)),
        "signs.own.parted": str(int((~own["rules_agree"]).sum())),
        "signs.own.opposed": str(int((own["cosine_halves"] < 0).sum())),
        "signs.own.least": f"{least['cosine_halves']:.2f}".replace("-", "−"),
        "signs.own.least.vector": least["vector"],
        "signs.own.least.block": str(least["block"]),
        "signs.own.explained": wording.share(least["explained_share"]),
    }


def sweep_values(audit: pd.DataFrame, sweep: pd.DataFrame) -> dict[str, str]:
    """Of the ranges of the sweep, how many hold a block where the rules part; nothing where no concept is in both."""
    parted = audit[~audit["rules_agree"]]
    found = []
    for vector, rows in sweep.groupby("vector", sort=False):
        if vector in set(audit["vector"]):
            ranges = rows[["first_layer", "last_layer"]].drop_duplicates().astype(int).to_numpy()
            blocks = parted.loc[parted["vector"] == vector, "block"].astype(int).to_numpy()
            held = sum(bool(((first <= blocks) & (blocks <= last)).any()) for first, last in ranges)
            found.append(f"{held} of {len(ranges)} for {vector}")
    return {"signs.sweep": wording.listing(found)} if found else {}


def _within(audit: pd.DataFrame, layers: tuple[int, int]) -> pd.DataFrame:
    """The rows of an inclusive range of blocks."""
    return audit[audit["block"].between(*layers)]


def _highest(rows: pd.DataFrame, by: pd.Series[float]) -> dict[Hashable, Any]:
    """The row where `by` is highest, the first among equals."""
    return rows.to_dict("records")[int(by.to_numpy().argmax())]


def _interval(row: Mapping[Hashable, Any]) -> str:
    """The ends of an interval, in nats."""
    return f"{wording.nats(row['shift_low'])} to {wording.nats(row['shift_high'])}"
