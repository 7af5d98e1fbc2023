"""The zoos in the report: which organisms the rules put where they belong."""

from __future__ import annotations

import pandas as pd

from introspection.experiments.verdict.objections import OBJECTIONS, load_objections
from introspection.experiments.verdict.report import CLASS, Class
from introspection.experiments.zoo.confusion import TAKEN, by_organism, taken
from introspection.experiments.zoo.figure import confusion_figure
from introspection.experiments.zoo.tables import CONFUSION
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.render import Renderer
from introspection.settings import Settings

PATH = f"results/confusion/{CONFUSION.name}"


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """How many organisms are judged rightly, which are not, how far training came, and what whole organisms are."""
    examined = {name: f"results/trained/{name}/{CLASS}" for name in settings.examined}
    judged = [
        f"“{name}” {renderer.results.json(path, Class).verdict}"
        for name, path in examined.items()
        if renderer.results.expects(path)
    ]
    values: dict[str, str] = {"examined.verdicts": wording.listing(judged)} if judged else {}
    if not renderer.results.expects(PATH):
        return values
    table = renderer.results.table(CONFUSION, PATH)
    zoo, grown = (table[table["zoo"] == name] for name in ("zoo", "grown"))
    if len(zoo):
        values |= {f"zoo.{name}": value for name, value in _taken(zoo).items()} | {
            "zoo.rules": wording.count(zoo["organism"].nunique()),
            "zoo.seeds": _seeds(zoo["seed"].nunique()),
            "zoo.distance.least": wording.number(round(float(zoo["distance"].min()), 3)),
            "zoo.distance.largest": wording.number(round(float(zoo["distance"].max()), 2)),
            "zoo.near": wording.number(TAKEN),
            "zoo.taken": wording.how_many(len(taken(zoo))),
        }
    if len(taken(zoo)):
        values["zoo.taken.right"] = wording.how_many(int(taken(zoo)["right"].sum()))
    if wrong := _wrong(zoo):
        values["zoo.wrong"] = wording.listing(wrong)
    if len(grown):
        values |= {f"grown.{name}": value for name, value in _taken(grown).items()} | {
            "grown.base": settings.organisms.grown.recipe.base,
            "grown.verdicts": wording.listing([f"“{row.organism}” {row.verdict}" for row in grown.itertuples()]),
        }
    return values


def _taken(table: pd.DataFrame) -> dict[str, str]:
    """How far the rules and the training came with some organisms."""
    return {
        "organisms": wording.count(len(table)),
        "right": wording.how_many(int(table["right"].sum())),
        "distance": wording.number(round(float(table["distance"].mean()), 2)),
    }


def _wrong(table: pd.DataFrame) -> list[str]:
    """The organisms that are not judged rightly, and where there are more seeds than one, how many of them."""
    return [
        name if count == 1 else f"{name} ({count - right} of {count})"
        for name, (right, count) in by_organism(table).items()
        if right < count
    ]


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
