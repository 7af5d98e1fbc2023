"""Reading `params.yaml`: every mistake in it is named, with its key and what is allowed there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from introspection.files import load_yaml
from introspection.settings.sections import Settings
from introspection.sources.bases import base_of


class SettingsError(ValueError):
    """The parameter file is wrong; the message names the file, the key, what was found and what is allowed."""


def load_settings(path: Path) -> Settings:
    """Read and validate the parameter file, the layer ranges of models that lie in local folders included.

    Raises SettingsError, a line for each thing that is wrong.
    """
    values = load_yaml(path, SettingsError)
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: found {_short(values)}; allowed: a mapping of settings")
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        lines = (_describe(dict(detail)) for detail in error.errors(include_url=False))
        raise SettingsError("\n".join(f"{path}: {line}" for line in lines)) from error
    for key, model in settings.models.items():
        blocks = local_block_count(Path(model.source))
        if blocks is not None:
            check_layers(model.layers, blocks, f"{path}: models.{key}.layers")
    return settings


def check_layers(layers: tuple[int, int], blocks: int, where: str) -> None:
    """Raise SettingsError unless the inclusive range lies in a model of `blocks` decoder blocks."""
    if layers[1] >= blocks:
        raise SettingsError(
            f"{where}: found {list(layers)}; allowed: 1 <= first <= last <= {blocks - 1}, "
            f"since the model has {blocks} blocks"
        )


def local_block_count(folder: Path) -> int | None:
    """The number of decoder blocks of a model saved in `folder`, or None where there is no readable config there.

    Of an adapter, it is that of the model that it changes, where that lies in a folder too.
    """
    try:
        folder = Path(base_of(str(folder)) or folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = config.get("text_config", config)
        count = config.get("num_hidden_layers", config.get("n_layer"))
    except (OSError, ValueError, AttributeError, RecursionError):  # told by the stage that loads this model
        return None
    return count if type(count) is int and count > 0 else None


def _describe(detail: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in detail["loc"] if part != "[key]")
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key; allowed: {', '.join(_siblings(detail['loc']))}"
    if detail["type"] == "missing":
        return f"{key}: missing; give it a value"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["loc"] and not isinstance(detail["input"], dict):
        return f"{key}: found {_short(detail['input'])}; {message[0].lower()}{message[1:]}"
    return f"{key}: {message}" if key else message


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed beside an unknown one, found by walking the settings' own types."""
    section: Any = Settings
    for part in location[:-1]:
        fields = getattr(section, "model_fields", {})
        if part in fields:
            section = _section_of(fields[part].annotation)
    return list(getattr(section, "model_fields", {}))


def _section_of(annotation: Any) -> Any:
    """The settings class inside `X`, `X | None` or `dict[str, X]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _section_of(argument)
        if found is not None:
            return found
    return None
