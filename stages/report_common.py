"""What the stages of the report share: the result files, and which stage of dvc.yaml makes each."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from introspection.experiments.zoo.tables import BEYOND, EXAMINED
from introspection.files import RESULTS
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
        "elsewhere": settings.elsewhere,
        "organisms.trained": organisms.trained,
        "organisms.again.seeds": organisms.again.seeds,
        "organisms.zoo.rules": organisms.zoo.rules,
        "organisms.zoo.seeds": organisms.zoo.seeds,
        "organisms.grown.rules": organisms.grown.rules,
        "organisms.grown.seeds": organisms.grown.seeds,
        "curve.rules": settings.curve.rules,
        "examined": settings.examined,
    }
    stages = output_stages(pipeline, lists)
    some = {"grown": EXAMINED, "trained": EXAMINED, "beyond": BEYOND}  # folders with some of a model's files
    for folder, kept in some.items():
        for path in [each for each in stages if each.startswith(f"{RESULTS}/{folder}/")]:
            stages |= dict.fromkeys((f"{path}/{name}" for name in kept), stages.pop(path))
    for key in settings.elsewhere:  # of which only what was measured there is expected
        stage = stages.pop(f"{RESULTS}/{key}")
        stages |= {path.as_posix(): stage for path in (RESULTS / key).rglob("*") if path.is_file()}
    return Results(Path(), stages)
