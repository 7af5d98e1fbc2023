"""What the stages of the report share: the result files, and which stage of dvc.yaml makes each."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from introspection.paper.pipeline import output_stages
from introspection.paper.results import Results
from introspection.settings import Settings

PIPELINE = Path("dvc.yaml")


def open_results(settings: Settings) -> Results:
    """The result files of this folder; which experiments there are is what the stages of dvc.yaml say."""
    pipeline = YAML(typ="safe", pure=True).load(PIPELINE.read_text(encoding="utf-8"))
    organisms = settings.organisms
    lists = {
        "study.models": settings.study.models,
        "organisms.trained": organisms.trained,
        "organisms.again.seeds": organisms.again.seeds,
        "organisms.zoo.rules": organisms.zoo.rules,
        "organisms.zoo.seeds": organisms.zoo.seeds,
    }
    return Results(Path(), output_stages(pipeline, lists))
