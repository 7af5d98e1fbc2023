"""The critic's page as Markdown, of an examination with fewer of what is drawn than the study has."""

from __future__ import annotations

import math
from typing import Any

from introspection.experiments.verdict.objections import OBJECTIONS, load_objections
from introspection.experiments.verdict.tables import VERDICT
from introspection.settings import ExaminationSettings
from introspection.tables import Outputs

HEAD = ("objection", "measured", "number", "interval", "whose", "rule", "passes")


def critics_page(model: str, outputs: Outputs, fewer: ExaminationSettings) -> str:
    """Every objection in the order of the rule, its number with the interval, and the class of the model."""
    objections = load_objections(OBJECTIONS).tests
    rows = [
        _cells(objections[str(row["test"])].objection, row)
        for row in outputs[VERDICT.name].rows.sort_values("order").to_dict("records")
    ]
    lines = [
        f"# {model}: {outputs['verdict.json']['verdict']}",
        "",
        f"Examined quickly: {fewer.population.directions} directions of each kind, vectors of {fewer.suffixes} "
        "suffixes. The study draws more, so its intervals are narrower, and a class that hangs on one may differ.",
        "",
        _line(HEAD),
        _line(["---"] * len(HEAD)),
        *map(_line, rows),
    ]
    return "\n".join(lines) + "\n"


def _cells(objection: str, row: dict[Any, Any]) -> list[str]:
    low, high = float(row["low"]), float(row["high"])
    interval = "–" if math.isnan(low) else f"{low:.3g} to {high:.3g}"
    number = "–" if math.isnan(row["number"]) else f"{row['number']:.3g}"
    passes = "yes" if row["passed"] else "no"
    return [objection, str(row["measured"]), number, interval, str(row["resampled"]), str(row["rule"]), passes]


def _line(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
