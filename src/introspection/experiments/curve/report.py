"""The curves in the report: what a training on a real model installs, and what it leaves as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import pandas as pd

from introspection import names
from introspection.experiments.curve.figure import LABELS, curve_figure
from introspection.experiments.curve.tables import CURVE
from introspection.experiments.places.report import OWN, common_doses, over_doses, own_doses, place_means, told
from introspection.experiments.places.tables import PLACES
from introspection.experiments.reader.report import best_at_detection
from introspection.experiments.reader.tables import SUMMARY as READERS
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.render import Renderer
from introspection.paper.results import Results
from introspection.settings import Settings

CHOICES = ("where", "which")  # what no training here has asked


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """A passage about each organism, and what was asked of it."""
    curves = dict(_curves(renderer.results, settings))
    if not curves:
        return {}
    shown = [
        {
            "name": name,
            **_ends(table),
            "reader": _reader(renderer.results, path),
            "carried": _carried(renderer.results, settings, path),
        }
        for name, (path, table) in curves.items()
    ]
    return {
        "curve.passage": renderer.phrase("curves", curves=shown),
        "curve.every": str(settings.curve.every),
        "curve.prompts": wording.listing([renderer.prompts.after_with(each) for each in settings.curve.prompts]),
        "curve.confidence": wording.plain_percent(settings.curve.confidence),
    }


def figures_of_all(gallery: Gallery, settings: Settings) -> None:
    """All curves, a row an organism."""
    curves = dict(_curves(gallery.results, settings))
    if curves:
        tables = [(name, table) for name, (_, table) in curves.items()]
        gallery.add("curve", curve_figure(tables, gallery.look), [path for path, _ in curves.values()])


def _curves(results: Results, settings: Settings) -> Iterator[tuple[str, tuple[str, pd.DataFrame]]]:
    """By the name of an organism, the path of its file and the rows."""
    for name in settings.closely_grown:
        path = f"results/curves/{name}/{CURVE.name}"
        if results.expects(path):
            rule, seed = name.rsplit("-", 1)
            shown = rule if len(settings.organisms.grown.seeds) == 1 else f"{rule} {seed}"
            yield shown, (path, results.table(CURVE, path))


def _reader(results: Results, path: str) -> dict[str, str]:
    """How often the organism at the end of a curve is right of a concept or nothing, and a reader of few examples."""
    key = f"beyond/{PurePosixPath(path).parent.name}"
    if not results.expects(f"results/{key}/{READERS.name}"):
        return {}
    best = best_at_detection(results.read(READERS, key))
    return {} if best is None else {who: wording.share(float(best[f"{who}_accuracy"])) for who in ("model", "reader")}


def _carried(results: Results, settings: Settings, path: str) -> dict[str, object]:
    """The shift at other doses and in other blocks, of it and of the model that it has grown from."""
    injection, base = settings.organisms.grown.injection, settings.organisms.grown.recipe.base
    keys = {"it": f"beyond/{PurePosixPath(path).parent.name}", "base": base}
    if not results.expects(*(f"results/{key}/{PLACES.name}" for key in keys.values())):
        return {}
    found: dict[str, object] = {
        "grown_from": base,
        "concepts": wording.count(len(settings.places.concepts)),
        "doses": common_doses(settings),
        "own": wording.layers(*injection.layers),
        "trained": wording.plain_percent(injection.other_layers),
        "last": injection.last_block,
    }
    common = settings.places.common
    for name, key in keys.items():
        means = place_means(results.read(PLACES, key), common)
        places = over_doses(means).drop(index=OWN).dropna()
        found[name] = {
            "own": told(own_doses(means)),
            "places": {str(place): told(places.loc[[place]]) for place in places.index},
        }
    rest = place_means(results.read(PLACES, keys["it"]), common, "residual")["concept"].dropna()
    return found | {"least": wording.nats(rest.min()), "most": wording.nats(rest.max())}


def _ends(table: pd.DataFrame) -> dict[str, object]:
    """What there is to say of the last step, beside the first."""
    first, last = (table[table["step"] == step] for step in (table["step"].min(), table["step"].max()))
    yes = last[(last["test"] == "detection") & (last["asked"] == last["asked"].iloc[0])].set_index("injected")
    right = {
        end: rows[rows["test"] == "controls"].set_index("injected")["value"]
        for end, rows in (("before", first), ("after", last))
    }
    chosen = last[last["test"].isin(CHOICES)]
    before = first.set_index(["test", "asked", "injected"])["value"]
    above = chosen[chosen["low"] > chosen["wanted"]]
    return {
        "steps": int(last["step"].iloc[0]),
        "yes": wording.listing(
            [
                f"{wording.share(row['value'])} under {LABELS[str(kind)]}"
                f" ({wording.plain_percent(row['wanted'])} planted)"
                for kind, row in yes.iterrows()
            ]
        ),
        "controls": {end: wording.share(rows[names.NOTHING]) for end, rows in right.items()},
        "controls_injected": wording.share(right["after"]["concept"]),
        "choices": wording.listing(
            [
                f"{row['test']} ({row['asked']}) {wording.share(row['value'])}, before "
                f"{wording.share(before[row['test'], row['asked'], row['injected']])}, chance "
                f"{wording.share(row['wanted'])}"
                for row in chosen.to_dict("records")
            ]
        ),
        "asked": wording.count(len(chosen)),
        "above": wording.how_many(len(above)),
    }
