"""The paper's tables and the values of its prose, rendered from result files through templates."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from introspection.config import ModelSettings, Settings
from introspection.report import measures, published, text
from introspection.report.latex import Latex, environment, escape
from introspection.report.results import Results, Source
from introspection.stimuli import Stimuli

STUDY_VECTORS = ("persona", "finetune")
DATA_FILES = (
    "data/prompts/detection.yaml",
    "data/prompts/controls.yaml",
    "data/prompts/content.yaml",
    "data/prompts/top_of_mind.yaml",
    "data/prompts/concept.yaml",
    "data/raw/suffixes.json",
    "data/raw/contrast_prompts.csv",
    "data/published/detection.csv",
    "data/published/controls.csv",
    "data/published/samples.csv",
)


@dataclass(frozen=True)
class Study:
    """A model of the study and what belongs to it.

    number: its place in the paper, from 1. organism: its key among the organisms that the repository trains, or None.
    """

    number: int
    key: str
    model: ModelSettings
    organism: str | None


def studies(settings: Settings) -> list[Study]:
    """The models of the study, in its order."""
    found = []
    for number, key in enumerate(settings.study.models, start=1):
        model = settings.models[key]
        name = Path(model.source).name
        trained = name in settings.organisms.trained and model.source == f"models/{name}"
        found.append(Study(number, key, model, name if trained else None))
    return found


class Renderer:
    """Renders templates into a folder, which it empties of earlier tables, and remembers what each was made of."""

    def __init__(self, results: Results, templates: Path, output: Path) -> None:
        self.results = results
        self.output = output
        self.jinja = environment(templates)
        self.jinja.filters.update(raw_name=raw_name, prompt_label=text.prompt_label)
        for path in output.glob("*.tex"):
            path.unlink()
        self.sources: dict[str, list[Source]] = {}

    def render(self, template: str, name: str, sources: Iterable[str], **context: Any) -> str:
        """Write `name`.tex from a template; `sources` are the paths of the result files it shows. Returns its path."""
        content = self.jinja.get_template(f"{template}.tex.j2").render(context)
        self.output.mkdir(parents=True, exist_ok=True)
        path = self.output / f"{name}.tex"
        unfinished = path.with_name(path.name + ".unfinished")
        unfinished.write_text(content, encoding="utf-8")
        unfinished.replace(path)
        self.sources[path.name] = [self.results.source(source) for source in sources]
        return Latex(f"tables/{name}")


def render_tables(settings: Settings, stimuli: Stimuli, results: Results, templates: Path, output: Path) -> None:
    """Write every table of the paper, `values.tex` for its prose and `sources.json` (what each file was made of).

    Experiments that no stage runs are left out, and the paper says so. Raises ResultError for a result file that a
    stage should have written and that is missing or broken.
    """
    renderer = Renderer(results, templates, output)
    values: dict[str, str] = study_values(settings)
    for study in studies(settings):
        own: dict[str, str] = model_values(settings, study)
        own |= _model_file(renderer, study)
        own |= _detection(renderer, settings, study)
        values |= {f"{study.number}.{name}": value for name, value in own.items()}
    values |= _prompts(renderer, stimuli)
    values |= _provenance(renderer, settings)
    renderer.render("values", "values", (), values=values, numbers=[study.number for study in studies(settings)])
    write_sources(output, renderer.sources)


def raw_name(name: str) -> Latex:
    """A value's name, which LaTeX reads as a name and not as text. Raises ValueError for one that could be more."""
    if not re.fullmatch(r"[\w.-]+", name, flags=re.ASCII):
        raise ValueError(f"{name!r} cannot name a value of the paper: use letters, digits, '.', '-' and '_'")
    return Latex(name)


def write_sources(folder: Path, sources: Mapping[str, list[Source]]) -> None:
    """Write `sources.json`: by file of the folder, the result files that it was made of."""
    content = {name: [vars(source) for source in found] for name, found in sorted(sources.items())}
    (folder / "sources.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def origin(source: Source) -> Latex:
    """A result file as a caption names it: the stage that wrote it and the beginning of its md5."""
    return Latex(rf"\texttt{{{escape(source.stage or source.path)}}} (md5~\texttt{{{source.md5[:8]}}})")


def study_values(settings: Settings) -> dict[str, str]:
    """Values that belong to the study as a whole."""
    everyone = studies(settings)
    return {
        "models": text.listing([study.key for study in everyone]),
        "models.count": str(len(everyone)),
        "concepts": text.listing(list(settings.study.concepts)),
        "concepts.count": str(len(settings.study.concepts)),
        "random.count": str(settings.study.random_directions),
        "unchanged": text.number(text.UNCHANGED_BELOW),
        "controls.exclude": text.percent(settings.controls.exclude_above),
        **({"organisms": "yes"} if any(study.organism for study in everyone) else {}),
        **({"other.models": "yes"} if not all(study.organism for study in everyone) else {}),
        **({"some.contrast": "yes"} if any(study.model.contrast for study in everyone) else {}),
    }


def model_values(settings: Settings, study: Study) -> dict[str, str]:
    """Values that a model's settings give."""
    model = study.model
    values: dict[str, str] = {
        "name": study.key,
        "source": model.source,
        "layers": text.layers(*model.layers),
        "strength": text.number(model.strength),
        "dtype": model.dtype,
    }
    if study.organism:
        values["organism"] = study.organism
    if model.contrast:
        values["contrast"] = model.contrast.source
        values["contrast.strength"] = text.number(model.contrast.strength)
        values["contrast.samples"] = text.number(model.contrast.samples_at)
    return values


def _model_file(renderer: Renderer, study: Study) -> dict[str, str]:
    path = f"results/{study.key}/model.json"
    model = renderer.results.json(path)
    return {
        "blocks": str(model["blocks"]),
        "hidden": str(model["hidden_size"]),
        "parameters": f"{model['parameters']:,}".replace(",", " "),
        "architecture": model["architecture"],
    }


def _detection(renderer: Renderer, settings: Settings, study: Study) -> dict[str, str]:
    """The detection table of a model, the table of its no answers, and what the prose says of them."""
    path = f"results/{study.key}/detection.csv"
    if not renderer.results.expects(path):
        return {}
    table = renderer.results.result(study.key, "detection.csv")
    post = published.published_detection(renderer.results)
    rows = detection_rows(table, post[~post["swept"]])
    sources = (path, "data/published/detection.csv")
    values: dict[str, str] = {
        "detection.table": renderer.render("detection", f"detection-{study.key}", sources, rows=rows, study=study),
        "detection.no.table": renderer.render("detection_no", f"no-{study.key}", sources, rows=rows, study=study),
        "detection.origin": origin(renderer.results.source(path)),
    }
    values |= detection_values(table, settings)
    if study.organism:
        planted = planted_rows(table, settings, study.organism)
        values["planted.concept.info"] = planted_percent(settings, study.organism, "concept", "info")
        values["planted.table"] = renderer.render("planted", f"planted-{study.key}", (path,), rows=planted, study=study)
    return values


def detection_rows(table: pd.DataFrame, post: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per vector and prompt, random directions as their mean, with the post's figures where it has them."""
    names = [name for name in dict.fromkeys(table["vector"]) if not str(name).startswith("random_")]
    groups: list[tuple[str, list[str]]] = [(name, [name]) for name in names]
    random = measures.random_vectors(table)
    if random:
        groups.append(("random", random))
    prompts = list(dict.fromkeys(table["prompt"]))
    rows: list[dict[str, Any]] = []
    for label, members in groups:
        for prompt in prompts:
            part = table[table["vector"].isin(members) & (table["prompt"] == prompt)]
            mean = measures.with_shift(part).mean(numeric_only=True)
            theirs = post[(post["vector"] == label) & (post["prompt"] == prompt)]
            figures = theirs.iloc[0] if len(theirs) else None
            rows.append(
                {
                    "vector": text.vector_label(label),
                    "first": prompt == prompts[0],
                    "last": prompt == prompts[-1],
                    "prompt": text.prompt_label(prompt),
                    **{name: text.percent(mean[name]) for name in mean.index if name.startswith("p_")},
                    "shift": text.nats(mean["shift"]),
                    **{
                        f"post_{name}": "–" if figures is None else published.as_percent(figures[f"p_{name}_bf16"])
                        for name in ("yes_base", "yes_injected", "no_base", "no_injected")
                    },
                }
            )
    return rows


def detection_values(table: pd.DataFrame, settings: Settings) -> dict[str, str]:
    """What the prose says of a detection table: means over the concepts, for each prompt, and the random directions."""
    values: dict[str, str] = {}
    groups = {"concepts": list(settings.study.concepts), "random": measures.random_vectors(table)}
    groups |= {name: [name] for name in STUDY_VECTORS}
    for group, vectors in groups.items():
        for prompt in dict.fromkeys(table["prompt"]):
            answer = measures.answer(table, vectors, prompt)
            if answer is not None:
                values |= {f"detection.{group}.{prompt}.{key}": value for key, value in answer_values(answer).items()}
    shifts = {prompt: measures.answer(table, groups["concepts"], prompt) for prompt in dict.fromkeys(table["prompt"])}
    ordered = sorted((found.shift, prompt) for prompt, found in shifts.items() if found is not None)
    if any(text.direction(shift) != text.UNCHANGED for shift, _ in ordered):
        values["detection.order"] = text.listing([text.prompt_label(prompt) for _, prompt in reversed(ordered)])
    return values


def answer_values(answer: measures.Answer) -> dict[str, str]:
    """An answer in words and figures for the prose."""
    return {
        "base": text.percent(answer.base),
        "injected": text.percent(answer.injected),
        "shift": text.nats(answer.shift),
        "low": text.nats(answer.shift_low),
        "high": text.nats(answer.shift_high),
        "moves": text.direction(answer.shift),
    }


def planted_rows(table: pd.DataFrame, settings: Settings, organism: str) -> list[dict[str, Any]]:
    """Planted and measured p(yes) by what was injected and by prompt, means over concepts and over random ones."""
    concepts, random = list(settings.study.concepts), measures.random_vectors(table)
    rows: list[dict[str, Any]] = []
    for prompt in dict.fromkeys(table["prompt"]):
        concept = measures.answer(table, concepts, prompt)
        noise = measures.answer(table, random, prompt)
        measured = {
            "nothing": concept.base if concept else float("nan"),
            "concept": concept.injected if concept else float("nan"),
            "random": noise.injected if noise else float("nan"),
        }
        cells = {
            kind: (planted_percent(settings, organism, kind, prompt), text.percent(value))
            for kind, value in measured.items()
        }
        rows.append({"prompt": text.prompt_label(prompt), **cells})
    return rows


def planted_percent(settings: Settings, organism: str, injected: str, prompt: str) -> str:
    """The probability of yes that was planted for what is injected (nothing, concept, random) under a prompt."""
    rates = settings.organisms.trained[organism].p_yes.model_dump()[injected]
    return text.planted_percent(rates[prompt]) if prompt in rates else "–"


def _prompts(renderer: Renderer, stimuli: Stimuli) -> dict[str, str]:
    sources = [path for path in DATA_FILES if path.startswith("data/prompts/")]
    conversations = [(text.prompt_label(name), turns) for name, turns in stimuli.detection.items()]
    return {
        "prompts.table": renderer.render(
            "prompts",
            "prompts",
            sources,
            conversations=conversations,
            content=[(text.prompt_label(name), turns[-1].content) for name, turns in stimuli.content.items()],
            stimuli=stimuli,
        ),
        "yes": stimuli.yes,
        "no": stimuli.no,
        "yes.variants": Latex(", ".join(renderer.jinja.filters["token"](name) for name in stimuli.yes_variants)),
        "yes.token": renderer.jinja.filters["token"](stimuli.yes),
        "no.token": renderer.jinja.filters["token"](stimuli.no),
    }


def _provenance(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """What the study was made with: models, parameters, data."""
    results = renderer.results
    paths = [f"results/{key}/model.json" for key in settings.study.models]
    models = [(key, flatten(results.json(path))) for key, path in zip(settings.study.models, paths, strict=True)]
    files = [(path, hashlib.sha256((results.root / path).read_bytes()).hexdigest()) for path in DATA_FILES]
    used = settings.model_dump(mode="json", exclude={"models", "organisms"})
    used["models"] = {key: settings.models[key].model_dump(mode="json") for key in settings.study.models}
    return {
        "provenance.table": renderer.render(
            "provenance",
            "provenance",
            [*paths, *DATA_FILES],
            models=models,
            parameters=flatten(used),
            files=files,
        )
    }


def flatten(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, text) pairs; a list of plain values is one text."""
    if isinstance(value, Mapping):
        return [pair for key, part in value.items() for pair in flatten(part, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list | tuple) and not any(isinstance(part, Mapping | list | tuple) for part in value):
        return [(name, ", ".join(map(str, value)))]
    if isinstance(value, list | tuple):
        return [pair for index, part in enumerate(value) for pair in flatten(part, f"{name}.{index}")]
    return [(name, "none" if value is None else str(value))]
