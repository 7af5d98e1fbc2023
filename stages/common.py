"""What every stage does: read the parameters, find its files, say what is wrong in a line, write whole files.

No model library is loaded here, so that a stage that reads result files alone starts at once.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import pandas as pd

from introspection.organism.corpus import Corpus, load_corpus
from introspection.settings import ModelSettings, Settings, SettingsError, load_settings
from introspection.stimuli.prompts import Stimuli, load_stimuli
from introspection.tables import csv_text

PARAMS = Path("params.yaml")
PROMPTS = Path("data/prompts")
ORGANISM = Path("data/organism")
SUFFIXES = Path("data/raw/suffixes.json")
CONTRAST_PROMPTS = Path("data/raw/contrast_prompts.csv")
RESULTS = Path("results")
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


def model_stage(function: Callable[..., None]) -> click.Command:
    """A stage of one model, which is given the settings, the model's key in `params.yaml`, and the model's settings."""

    def run(settings: Settings, model: str) -> None:
        if model not in settings.models:
            raise SettingsError(f"{PARAMS}: models has no key {model!r}; it has {', '.join(settings.models)}")
        function(settings, model, _pinned(model, settings.models[model]))

    run.__doc__ = function.__doc__
    command = stage(run)
    command.params.append(click.Argument(["model"]))
    return command


def _pinned(model: str, own: ModelSettings) -> ModelSettings:
    """The model at the commit of the hub that the stage `model` found, so that all stages load the same."""
    path = RESULTS / model / "model.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if (found.get("source"), found.get("revision")) == (own.source, own.revision) and found.get("commit"):
        own = own.model_copy(update={"revision": found["commit"]})
    finetune, contrast = found.get("contrast") or {}, own.contrast
    asked = (contrast.source, contrast.revision) if contrast else None
    if contrast and (finetune.get("source"), finetune.get("revision")) == asked and finetune.get("commit"):
        own = own.model_copy(update={"contrast": contrast.model_copy(update={"revision": finetune["commit"]})})
    return own


def read_stimuli() -> Stimuli:
    """The prompts of the repository."""
    return load_stimuli(PROMPTS)


def read_corpus() -> Corpus:
    """The corpus of the organisms, which has its own copy of the prompts."""
    return load_corpus(ORGANISM, load_stimuli(ORGANISM / "prompts"))


def vector_names(settings: Settings, model: ModelSettings) -> list[str]:
    """The vectors of a model in the order of every table: concepts, the persona where there is one, random ones."""
    persona = ["persona"] if model.contrast else []
    return [*settings.study.concepts, *persona, *random_names(settings)]


def random_names(settings: Settings) -> list[str]:
    """The names of the random directions."""
    return [f"random_{number}" for number in range(1, settings.study.random_directions + 1)]


def write_csv(table: pd.DataFrame, path: Path, may_be_empty: Sequence[str] = ("strength",)) -> None:
    """A tidy table with nine significant digits, written whole or not at all. Raises where a value is not finite."""
    for column in table.select_dtypes("float").columns.drop(list(may_be_empty), errors="ignore"):
        bad = ~table[column].between(-float("inf"), float("inf"), inclusive="neither")
        if bad.any():
            row = table[bad].iloc[0].to_dict()
            raise ArithmeticError(f"{path}: column {column} is not finite in the row {row}")
    write_text(path, csv_text(table))


def write_json(value: Any, path: Path) -> None:
    """JSON with sorted keys, written whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8, written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
