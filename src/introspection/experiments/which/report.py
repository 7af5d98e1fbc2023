"""Which one in the report: what the choices from a list say of the injection, and where its own word stands."""

from __future__ import annotations

from typing import Any

import pandas as pd

from introspection.experiments.which.figure import arm_label, which_figure
from introspection.experiments.which.published import PATH, PUBLISHED
from introspection.experiments.which.tables import (
    CONFUSION,
    HELD_OUT,
    LAST,
    LAYERS,
    LENS,
    NAMING,
    NAMING_SUMMARY,
    ORDERS,
    SUMMARY,
    TOKENS,
    WHICH,
)
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.prompts import Prompts
from introspection.paper.render import Renderer, origin
from introspection.settings import Settings

READINGS = {LAST: "own answer", HELD_OUT: "layer of other orders", "best": "best layer"}


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The table of a model, and what the prose says of it."""
    results = renderer.results
    files = [model.path(name) for name in (SUMMARY.name, WHICH.name, ORDERS.name, NAMING_SUMMARY.name, NAMING.name)]
    if not results.expects(*files, model.path(TOKENS)):
        return {}
    summary, naming = results.read(SUMMARY, model.key), results.read(NAMING_SUMMARY, model.key)
    published = results.table(PUBLISHED, PATH)
    tokens = results.json(model.path(TOKENS), dict[str, Any])
    rows = summary_rows(summary, published, renderer.prompts)
    values: dict[str, str] = {
        "which.table": renderer.render(
            "which",
            f"which-{model.key}",
            [*files, model.path(TOKENS), PATH],
            rows=rows,
            naming=naming_rows(naming, renderer.prompts),
            model=model,
        ),
        "which.origin": origin(results.source(files[1])),
        "which.words": str(tokens["words"]),
        "which.without": wording.listing(list(tokens["without"])),
    }
    if not tokens["numbers"]:
        return values | {"which.unreadable": "the ten digits"}
    own = summary[summary["reading"] == LAST]
    return values | {
        "which.arms": wording.count(len(own)),
        "which.informative": wording.how_many(int((own["p_value"] <= 1 - settings.which.confidence).sum())),
        "which.accuracy.low": wording.share(own["accuracy"].min()),
        "which.accuracy.high": wording.share(own["accuracy"].max()),
        "which.mass": wording.percent(own["mass"].max()),
    }


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """The concepts of the list, in how many orders, and how the choices are tested."""
    rule = settings.which
    if not any(renderer.results.expects(model.path(SUMMARY.name)) for model in reported_models(settings)):
        return {}
    return {
        "which.concepts": wording.listing(list(rule.concepts)),
        "which.orders": wording.count(rule.orders),
        "which.options": wording.count(len(rule.concepts) + 1),
        "which.chance": wording.share(1 / (len(rule.concepts) + 1)),
        "which.permutations": str(rule.permutations),
        "which.resamples": str(rule.resamples),
        "which.confidence": wording.plain_percent(rule.confidence),
        "which.level": f"{1 - rule.confidence:.2g}",
    }


def figures(gallery: Gallery, settings: Settings, model: ReportedModel) -> None:
    """Information by layer and the confusion matrices, where the numbers are tokens of the model."""
    paths = [model.path(table.name) for table in (LAYERS, CONFUSION, LENS)]
    if gallery.results.expects(*paths):
        layers, confusion = (gallery.results.read(table, model.key) for table in (LAYERS, CONFUSION))
        if len(layers):
            blocks = model.dose(gallery.results).layers
            gallery.add(f"which-{model.key}", which_figure(layers, confusion, blocks, gallery.look), paths)


def summary_rows(summary: pd.DataFrame, published: pd.DataFrame, prompts: Prompts) -> list[dict[str, Any]]:
    """A row for each arm and reading, and after them those of the other study, which gives the information alone."""
    rows = []
    for row in summary.to_dict("records"):
        layers = {row["layer_low"], row["layer_high"]}
        rows.append(
            {
                "arm": f"{prompts.label(row['prompt'])}, {arm_label(row['list'])}, {arm_label(row['question'])}",
                "first": row["reading"] == LAST,
                "reading": READINGS[row["reading"]],
                "layer": "–".join(map(str, sorted(layers))),
                "accuracy": f"{wording.share(row['accuracy'])} [{wording.share(row['accuracy_low'])}, "
                f"{wording.share(row['accuracy_high'])}]",
                **{name: bits(row[name]) for name in ("bits", "bits_null", "bits_corrected", "bits_miller_madow")},
                "p_value": f"{row['p_value']:.3f}",
            }
        )
    absent = dict.fromkeys(("layer", "accuracy", "bits_null", "bits_corrected", "bits_miller_madow", "p_value"), "–")
    for row in published.to_dict("records"):
        arm = f"published, {prompts.label(row['prompt'])}"
        rows.append(
            {"arm": arm, "first": True, "reading": READINGS[row["reading"]], **absent, "bits": bits(row["bits"])}
        )
    return rows


def naming_rows(naming: pd.DataFrame, prompts: Prompts) -> list[dict[str, Any]]:
    """A row for each prompt and score."""
    return [
        {
            "prompt": prompts.label(row["prompt"]),
            "score": row["score"],
            "words": str(row["words"]),
            "rank": f"{row['mean_rank']:.1f} [{row['rank_low']:.1f}, {row['rank_high']:.1f}]",
            "chance": f"{row['chance']:.1f}",
            "first": wording.share(row["first"]),
            "p_value": f"{row['p_value']:.4f}",
        }
        for row in naming.to_dict("records")
    ]


def bits(value: float) -> str:
    """Information in bits, no minus before a zero."""
    return f"{value + 0.0:.2f}".replace("-0.00", "0.00").replace("-", "−")
