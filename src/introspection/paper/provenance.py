"""What the study was made of and with: prompts in full, models, parameters, data."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from introspection.paper.latex import Latex, token
from introspection.paper.render import Renderer
from introspection.settings import Settings

# What results depend on, beyond this repository's own code.
PACKAGES = ("torch", "transformers", "tokenizers", "repeng", "numpy", "pandas", "dvc", "matplotlib")

DATA_FILES = (
    "data/prompts/detection.yaml",
    "data/prompts/controls.yaml",
    "data/prompts/content.yaml",
    "data/prompts/top_of_mind.yaml",
    "data/prompts/concept.yaml",
    "data/prompts/filler.yaml",
    "data/prompts/neutral.yaml",
    "data/prompts/battery.yaml",
    "data/prompts/where.yaml",
    "data/raw/suffixes.json",
    "data/raw/contrast_prompts.csv",
    "data/published/detection.csv",
    "data/published/controls.csv",
    "data/published/samples.csv",
    "data/published/comparisons.csv",
    "data/published/statements.csv",
)


def render_prompts(renderer: Renderer) -> dict[str, str]:
    """Every prompt in full, and the tokens that are read as answers."""
    stimuli, prompts = renderer.stimuli, renderer.prompts
    sources = [path for path in DATA_FILES if path.startswith("data/prompts/")]
    conversations = [(prompts.label(name), turns) for name, turns in stimuli.detection.items()]
    return {
        "prompts.table": renderer.render(
            "prompts",
            "prompts",
            sources,
            conversations=conversations,
            content=[(prompts.label(name), turns[-1].content) for name, turns in stimuli.content.items()],
            stimuli=stimuli,
            battery=stimuli.battery(),
            where=stimuli.where(),
        ),
        "yes.variants": Latex(", ".join(token(name) for name in stimuli.yes_variants)),
        "yes.token": token(stimuli.yes),
        "no.token": token(stimuli.no),
    }


def render_provenance(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """What the study was made with: models, parameters, data."""
    results = renderer.results
    paths = [f"results/{key}/model.json" for key in settings.study.models]
    models = [
        (key, flatten(results.json(path, dict[str, Any])))
        for key, path in zip(settings.study.models, paths, strict=True)
    ]
    checks = [path for key in settings.study.models if results.expects(path := f"results/{key}/instrument.json")]
    files = [(path, hashlib.sha256((results.root / path).read_bytes()).hexdigest()) for path in DATA_FILES]
    instruments = [(path.split("/")[1], flatten(results.json(path, dict[str, Any]))) for path in checks]
    # how figures look is no number of the study
    used = settings.model_dump(mode="json", exclude={"models", "organisms", "figures"})
    used["models"] = {key: settings.models[key].model_dump(mode="json") for key in settings.study.models}
    return {
        "provenance.table": renderer.render(
            "provenance",
            "provenance",
            [*paths, *checks, *DATA_FILES],
            versions=versions(),
            models=models,
            instruments=[(key, rows) for key, rows in instruments if len(rows) > 1],
            parameters=flatten(used),
            files=files,
        )
    }


def versions() -> list[tuple[str, str]]:
    """The packages that numbers depend on, as installed where the tables are rendered, and Python."""
    return [("python", platform.python_version()), *((name, metadata.version(name)) for name in PACKAGES)]


def flatten(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, text) pairs; a list of plain values is one text."""
    if isinstance(value, Mapping):
        return [pair for key, part in value.items() for pair in flatten(part, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list | tuple) and not any(isinstance(part, Mapping | list | tuple) for part in value):
        return [(name, ", ".join(map(str, value)))]
    if isinstance(value, list | tuple):
        return [pair for index, part in enumerate(value) for pair in flatten(part, f"{name}.{index}")]
    return [(name, "none" if value is None else str(value))]
