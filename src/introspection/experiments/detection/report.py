"""Experiments 1, 2, 4 and 7 in the report: detection tables beside the post's, and what the prose says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from introspection import names
from introspection.experiments.detection.figure import detection_figure
from introspection.experiments.detection.tables import DETECTION
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.prompts import Prompts
from introspection.paper.render import Renderer, origin
from introspection.paper.summaries import Answer, answer, means_last, members, with_shift
from introspection.rereading import published
from introspection.settings import Settings

# What the prose says under the main prompt: by kind of vector, these of `answer_values`.
SAID: dict[names.Kind, tuple[str, ...]] = {
    "concept": ("base", "injected", "goes", "shift", "low", "high"),
    "persona": ("goes", "goes.to", "shift"),
    "random": ("goes.to", "shift"),
    "coherent": ("injected", "shift"),
    "shared": ("injected", "shift"),
    "centred": ("injected", "shift"),
    "negated": ("injected", "shift"),
    "finetune": ("goes", "goes.to", "shift"),
}


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The detection table of a model, the table of its no answers, and what the prose says of them."""
    path = model.path(DETECTION.name)
    if not renderer.results.expects(path):
        return {}
    detection = renderer.results.read(DETECTION, model.key)
    post = published.post_detection(renderer.results)
    rows = detection_rows(detection, post[~post["swept"]], renderer.prompts)
    sources = (path, published.DETECTION_PATH)
    values: dict[str, str] = {
        "detection.table": renderer.render("detection", f"detection-{model.key}", sources, rows=rows, model=model),
        "detection.no.table": renderer.render("detection_no", f"no-{model.key}", sources, rows=rows, model=model),
        "detection.origin": origin(renderer.results.source(path)),
    }
    values |= detection_values(detection, renderer.prompts, SAID)
    return values | other_prompts(detection, renderer)


def figures_of_all(gallery: Gallery, settings: Settings) -> None:
    """Detection in every model, below the post's."""
    results = gallery.results
    models = [model for model in reported_models(settings) if results.expects(model.path(DETECTION.name))]
    detections = [(model.key, with_shift(results.read(DETECTION, model.key))) for model in models]
    post, sources = published.as_measured(results)
    figure = detection_figure([(published.POST, post), *detections], gallery.look)
    gallery.add("detection", figure, [*sources, *(model.path(DETECTION.name) for model in models)])


def detection_rows(detection: pd.DataFrame, post: pd.DataFrame, prompts: Prompts) -> list[dict[str, Any]]:
    """A row per vector and prompt, directions of a kind as their mean, with the post's figures where it has them."""
    asked = list(dict.fromkeys(detection["prompt"]))
    places = members(detection["vector"])
    rows: list[dict[str, Any]] = []
    for place in means_last(places):
        for prompt in asked:
            part = detection[detection["vector"].isin(places[place]) & (detection["prompt"] == prompt)]
            mean = with_shift(part).select_dtypes("float").mean()
            printed = post[(post["vector"] == place) & (post["prompt"] == prompt)]
            rows.append(
                {
                    "vector": names.vector_label(place),
                    "first": prompt == asked[0],
                    "last": prompt == asked[-1],
                    "prompt": prompts.label(prompt),
                    **{name: wording.percent(mean[name]) for name in mean.index if name.startswith("p_")},
                    "shift": wording.nats(mean["shift"]),
                    **{
                        f"post_{name}": published.cell(printed, f"p_{name}_bf16")
                        for name in ("yes_base", "yes_injected", "no_base", "no_injected")
                    },
                }
            )
    return rows


def detection_values(
    detection: pd.DataFrame, prompts: Prompts, said: Mapping[names.Kind, Sequence[str]]
) -> dict[str, str]:
    """What the prose says under the main prompt: the means over each kind of vector, these words of each."""
    values: dict[str, str] = {}
    for kind, words in said.items():
        mean = answer(detection, names.of_kind(kind, detection["vector"]), prompts.main)
        if mean is not None:
            values |= {f"detection.{kind}.{word}": answer_values(mean)[word] for word in words}
    return values


def other_prompts(detection: pd.DataFrame, renderer: Renderer) -> dict[str, str]:
    """The sentences on all prompts but the main one, and the order of all by the concepts' shift where one moves."""
    vectors = {kind: names.of_kind(kind, detection["vector"]) for kind in names.KINDS}
    prompts = renderer.prompts
    asked = prompts.others(detection["prompt"])
    answers = {kind: {prompt: answer(detection, vectors[kind], prompt) for prompt in asked} for kind in vectors}

    def rows(*kinds: names.Kind) -> list[dict[str, Any]]:
        return [
            {"prompt": prompts.after_with(prompt)}
            | {kind: answer_values(mean) for kind in kinds if (mean := answers[kind][prompt]) is not None}
            for prompt in asked
        ]

    values: dict[str, str] = {"detection.others": renderer.phrase("detection_others", rows=rows("concept"))}
    if vectors["persona"]:
        values["detection.contrast.others"] = renderer.phrase("contrast_others", rows=rows("persona", "finetune"))
    main = answer(detection, vectors["concept"], prompts.main)
    means = [(prompt, mean) for prompt, mean in {prompts.main: main, **answers["concept"]}.items() if mean is not None]
    if any(answer_values(mean)["moves"] != wording.UNCHANGED for _, mean in means):
        ordered = sorted(means, key=lambda pair: -pair[1].shift)
        values["detection.order"] = wording.listing([prompts.label(prompt) for prompt, _ in ordered])
    return values


def answer_values(mean: Answer) -> dict[str, str]:
    """An answer in words and figures for the prose: `goes` and `goes.to` are what becomes of the probability."""
    moves = wording.direction(mean.shift, mean.injected - mean.base)
    base, injected = wording.percent(mean.base), wording.percent(mean.injected)
    still = moves == wording.UNCHANGED
    return {
        "base": base,
        "injected": injected,
        "goes": f"{moves} ({base} without, {injected} with it)" if still else f"{moves} from {base} to {injected}",
        "goes.to": f"{moves} ({injected})" if still else f"{moves} to {injected}",
        "shift": wording.nats(mean.shift),
        "low": wording.nats(mean.shift_low),
        "high": wording.nats(mean.shift_high),
        "moves": moves,
    }
