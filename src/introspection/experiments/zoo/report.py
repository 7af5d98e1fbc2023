"""The zoo in the report: which organisms the rules put where they belong."""

from __future__ import annotations

from typing import Any

import pandas as pd

from introspection.experiments.verdict.objections import OBJECTIONS, load_objections
from introspection.experiments.zoo.figure import confusion_figure
from introspection.experiments.zoo.tables import CONFUSION
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.render import Renderer, origin
from introspection.settings import Settings

PATH = f"results/confusion/{CONFUSION.name}"


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """The table of organisms, and how many are judged rightly."""
    if not renderer.results.expects(PATH):
        return {}
    table = renderer.results.table(CONFUSION, PATH)
    rows = organism_rows(table)
    wrong = [row for row in rows if row["right"] < row["seeds"]]
    values: dict[str, str] = {
        "zoo.table": renderer.render("zoo", "zoo", [PATH], rows=rows),
        "zoo.origin": origin(renderer.results.source(PATH)),
        "zoo.organisms": str(len(table)),
        "zoo.rules": wording.count(table["organism"].nunique()),
        "zoo.right": str(int(table["right"].sum())),
        "zoo.distance": wording.number(round(float(table["distance"].mean()), 2)),
        "zoo.distance.least": wording.number(round(float(table["distance"].min()), 2)),
        "zoo.distance.largest": wording.number(round(float(table["distance"].max()), 2)),
    }
    return values | ({"zoo.wrong": wording.listing([str(row["organism"]) for row in wrong])} if wrong else {})


def figures_of_all(gallery: Gallery, settings: Settings) -> None:
    """The confusion matrix."""
    if gallery.results.expects(PATH):
        objections = load_objections(gallery.results.root / OBJECTIONS)
        classes = [objections.tests[name].fails_as for name in settings.verdict.order] + [objections.passes_as]
        table = gallery.results.table(CONFUSION, PATH)
        gallery.add("zoo", confusion_figure(table, classes, gallery.look), [PATH])


def organism_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per organism: what is planted, how many seeds are judged so, and as what the others."""
    rows = []
    for organism, part in table.groupby("organism", sort=False):
        others = part.loc[~part["right"], "verdict"].value_counts()
        rows.append(
            {
                "organism": str(organism),
                "expected": part["expected"].iloc[0],
                "right": int(part["right"].sum()),
                "seeds": len(part),
                "distance": f"{part['distance'].mean():.2f}",
                "others": wording.listing([f"{name} ({count})" for name, count in others.items()])
                if len(others)
                else "–",
                "failed": "; ".join(dict.fromkeys(part["failed"].replace("", "none"))),
            }
        )
    return rows
