"""What every stage does around its work: validate the parameters, and say what is wrong in a line.

No model library is loaded here, so that a stage that reads result files alone starts at once. Nothing here changes a
number, so it is no dependency of the stages in dvc.yaml.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from introspection.files import RESULTS, write_json
from introspection.settings import ContrastSettings, ModelSettings, Settings, SettingsError, load_settings
from introspection.tables import Filled

PARAMS = Path("params.yaml")
PROMPTS = Path("data/prompts")
SUFFIXES = Path("data/raw/suffixes.json")
CONTRAST_PROMPTS = Path("data/raw/contrast_prompts.csv")
PAPER = Path("paper")

# What a user can mend: bad parameters, missing files, models out of reach, numbers that are not finite.
_EXPLAINED = (ValueError, OSError, RuntimeError, ArithmeticError)


def stage(function: Callable[..., None]) -> click.Command:
    """A click command that validates `params.yaml` first and ends with one clear line when something is wrong.

    The function is given the validated settings before its own arguments.
    """

    @functools.wraps(function)
    def run(*args: Any, **named: Any) -> None:
        try:
            function(load_settings(PARAMS), *args, **named)
        except SettingsError as error:
            raise click.ClickException(str(error)) from error
        except _EXPLAINED as error:
            if os.environ.get("INTROSPECTION_TRACEBACK"):
                raise
            raise click.ClickException(f"{error} (INTROSPECTION_TRACEBACK=1 shows where)") from error

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    return click.command()(run)


def model_of(settings: Settings, key: str) -> ModelSettings:
    """The settings of a model. Raises SettingsError for a key that is not there."""
    if key not in settings.models:
        raise SettingsError(f"{PARAMS}: models has no key {key!r}; it has {', '.join(settings.models)}")
    return settings.models[key]


def pinned(settings: Settings, key: str) -> ModelSettings:
    """The model at the commit of the hub that the stage `model` found, so that all stages load the same."""
    own = model_of(settings, key)
    path = RESULTS / key / "model.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    contrast = own.contrast
    if contrast:
        own = own.model_copy(update={"contrast": _at_commit(contrast, found.get("contrast") or {})})
    pinned_model: ModelSettings = _at_commit(own, found)
    return pinned_model


def _at_commit(asked: Any, found: Mapping[str, Any]) -> Any:
    place = asked.place if isinstance(asked, ContrastSettings) else asked.source
    same = (found.get("source"), found.get("revision")) == (place, asked.revision)
    return asked.model_copy(update={"revision": found["commit"]}) if same and found.get("commit") else asked


def write_results(outputs: Mapping[str, Any], folder: Path) -> None:
    """Write result files by name: a table, or any other value as JSON; each whole or not at all."""
    for name, value in outputs.items():
        if isinstance(value, Filled):
            value.table.write(value.rows, folder / name)
        else:
            write_json(folder / name, value)
