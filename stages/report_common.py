"""What the stages of the report share: where things are, one clear line for an error, and no PyTorch to load."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

import click
from ruamel.yaml import YAML

from introspection.config import Settings, SettingsError, load_settings
from introspection.report.pipeline import output_stages
from introspection.report.results import Results

PAPER = Path("paper")
PARAMS = Path("params.yaml")
PIPELINE = Path("dvc.yaml")
PROMPTS = Path("data/prompts")


def report_stage(function: Callable[[Settings], None]) -> click.Command:
    """A click command that validates `params.yaml` first and ends with one clear message when something is wrong."""

    @functools.wraps(function)
    def run() -> None:
        try:
            function(load_settings(PARAMS))
        except (SettingsError, ValueError, OSError, RuntimeError) as error:
            if os.environ.get("INTROSPECTION_TRACEBACK"):
                raise
            raise click.ClickException(str(error)) from error

    return click.command()(run)


def open_results(settings: Settings) -> Results:
    """The result files of this folder; which experiments there are is what the stages of dvc.yaml say."""
    pipeline = YAML(typ="safe", pure=True).load(PIPELINE.read_text(encoding="utf-8"))
    lists = {"study.models": settings.study.models, "organisms.trained": settings.organisms.trained}
    return Results(Path(), output_stages(pipeline, lists))
