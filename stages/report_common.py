"""What the stages of the report share: where the paper is, and the result files with the stages that write them."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from introspection.config import Settings
from introspection.report.pipeline import output_stages
from introspection.report.results import Results

PAPER = Path("paper")
PIPELINE = Path("dvc.yaml")


def open_results(settings: Settings) -> Results:
    """The result files of this folder; which experiments there are is what the stages of dvc.yaml say."""
    pipeline = YAML(typ="safe", pure=True).load(PIPELINE.read_text(encoding="utf-8"))
    return Results(Path(), output_stages(pipeline, {"study.models": settings.study.models}))
