"""The suffixes in the report: how far an answer hangs on them, and where the rules for a direction's sign part."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from introspection.experiments.suffixes.tables import AUDIT, INTERVALS
from introspection.paper import wording
from introspection.paper.models import ReportedModel
from introspection.paper.render import Renderer
from introspection.settings import Settings

FILES = (AUDIT.name, INTERVALS.name)


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """What the prose says of a model's intervals and of the audit of its signs."""
    results = renderer.results
    if not results.expects(*(model.path(name) for name in FILES)):
        return {}
    audit, intervals = results.read(AUDIT, model.key), results.read(INTERVALS, model.key)
    return interval_values(intervals) | audit_values(audit, model.dose(results).layers)


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """Whose suffixes there are, how often they are drawn again, and the rule for the sign where it is not repeng's."""
    rule, data = settings.suffixes, settings.data
    original = data.source == "original" and not data.suffixes
    return {
        "suffixes.resamples": wording.count(rule.resamples),
        "suffixes.confidence": wording.plain_percent(rule.confidence),
        **({"suffixes.original": "yes"} if original else {}),
        **({"sign.mean": "yes"} if settings.study.sign == "mean" else {}),
    }


def interval_values(intervals: pd.DataFrame) -> dict[str, str]:
    """The widest interval, and in how many cells the halves give shifts of opposite signs."""
    resampled = intervals[intervals["resamples"] > 0]
    one, two = intervals["shift_half_1"], intervals["shift_half_2"]
    turned = (one * two < 0) & (one.abs() >= wording.UNCHANGED_NATS) & (two.abs() >= wording.UNCHANGED_NATS)
    values = {"suffixes.cells": str(len(intervals)), "suffixes.turned": str(int(turned.sum()))}
    if len(resampled):
        width = (resampled["shift_high"] - resampled["shift_low"]).to_numpy()
        wide = resampled.to_dict("records")[int(width.argmax())]
        values |= {
            "suffixes.wide": str(wide["vector"]),
            "suffixes.wide.shift": wording.nats(wide["shift"]),
            "suffixes.wide.interval": _interval(wide),
        }
    return values


def audit_values(audit: pd.DataFrame, layers: tuple[int, int]) -> dict[str, str]:
    """In how many directions the rules for the sign part, in all and in the model's own layers."""
    own = audit[audit["block"].between(*layers)]
    return {
        "signs.directions": str(len(audit)),
        "signs.parted": str(int((~audit["rules_agree"]).sum())),
        "signs.own.directions": str(len(own)),
        "signs.own.parted": str(int((~own["rules_agree"]).sum())),
    }


def _interval(row: Mapping[Hashable, Any]) -> str:
    """The ends of an interval, in nats."""
    return f"[{wording.nats(row['shift_low'])}, {wording.nats(row['shift_high'])}]"
