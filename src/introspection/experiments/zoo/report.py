"""The zoos in the report: which organisms the rules put where they belong."""

from __future__ import annotations

import pandas as pd

from introspection.experiments.verdict.objections import OBJECTIONS, load_objections
from introspection.experiments.zoo.figure import confusion_figure
from introspection.experiments.zoo.tables import CONFUSION
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.render import Renderer
from introspection.settings import Settings

PATH = f"results/confusion/{CONFUSION.name}"


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """How many organisms are judged rightly, which are not, and how far training came."""
    if not renderer.results.expects(PATH):
        return {}
    table = renderer.results.table(CONFUSION, PATH)
    values = {"grown.base": settings.organisms.grown.recipe.base}
    for zoo, rows in table.groupby("zoo", sort=False):
        values |= {f"{zoo}.{name}": value for name, value in _values(rows).items()}
    return values


def _values(table: pd.DataFrame) -> dict[str, str]:
    wrong = list(dict.fromkeys(table.loc[~table["right"], "organism"]))
    values: dict[str, str] = {
        "organisms": wording.count(len(table)),
        "rules": wording.count(table["organism"].nunique()).capitalize(),
        "seeds": _seeds(table["seed"].nunique()),
        "right": wording.count(int(table["right"].sum())),
        "distance": wording.number(round(float(table["distance"].mean()), 2)),
        "distance.least": wording.number(round(float(table["distance"].min()), 2)),
        "distance.largest": wording.number(round(float(table["distance"].max()), 2)),
        "verdicts": wording.listing([f"“{row.organism}” {row.verdict}" for row in table.itertuples()]),
    }
    return values | ({"wrong": wording.listing(wrong)} if wrong else {})


def _seeds(number: int) -> str:
    return f"{wording.count(number)} seed{'s' if number > 1 else ''}"


def figures_of_all(gallery: Gallery, settings: Settings) -> None:
    """The confusion matrix."""
    if gallery.results.expects(PATH):
        objections = load_objections(gallery.results.root / OBJECTIONS)
        classes = [objections.tests[name].fails_as for name in settings.verdict.order] + [objections.passes_as]
        table = gallery.results.table(CONFUSION, PATH)
        table = table[table["zoo"] == "zoo"]
        gallery.add("zoo", confusion_figure(table, classes, gallery.look), [PATH])
