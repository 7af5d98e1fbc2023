"""Where a fetched model is from, as a file in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from introspection.files import read_json

_NAME = "origin.json"


def write_origin(folder: Path, origin: dict[str, Any]) -> None:
    """Say in a model's folder where it is from."""
    text = json.dumps(origin, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / _NAME).write_text(text + "\n", encoding="utf-8")


def origin_of(folder: Path) -> dict[str, Any] | None:
    """Where a fetched model is from, or None for a folder that was not fetched."""
    path = folder / _NAME
    if not path.is_file():
        return None
    return read_json(path, dict[str, Any], "fetch the model anew")
