"""Whether a source is a folder, and what a folder with an adapter is an adapter of. Only its configuration is read."""

from __future__ import annotations

import json
import re
from pathlib import Path

from introspection.sources.errors import AdapterError

CONFIGURATION = "adapter_config.json"


def names_a_folder(source: str) -> bool:
    """Whether a source can be nothing but a folder of this machine: an id of the hub is NAME or ORGANISATION/NAME.

    What begins with a folder that is here is a path too, so that a misspelt one is not sought on the hub.
    """
    begins = source.partition("/")[0]
    is_id = re.fullmatch(r"[\w.-]{1,96}(/[\w.-]{1,96})?", source) is not None
    return not is_id or begins in (".", "..") or ("/" in source and Path(begins).is_dir())


def is_folder(source: str) -> bool:
    """Whether a source is a folder of this machine. One whose name is too long for the file system is none."""
    try:
        return Path(source).is_dir()
    except OSError:
        return False


def base_of(source: str) -> str | None:
    """The folder or hub id of the model that an adapter in a folder changes; None for any other source.

    Raises AdapterError for an adapter that names none, whose base is missing, or whose base is an adapter itself.
    """
    folder = Path(source)
    path = folder / CONFIGURATION
    if not is_folder(source) or not path.is_file() or (folder / "config.json").is_file():
        return None
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        base = None
    if not isinstance(base, str) or not base:
        raise AdapterError(f"{path}: names no base_model_name_or_path; save the adapter again with PEFT")
    if names_a_folder(base) and not is_folder(base):
        raise AdapterError(
            f"{source}: is an adapter of {base[:300]}, and there is no such folder; train or fetch that model first, "
            f"or mend base_model_name_or_path in {path}"
        )
    if (Path(base) / CONFIGURATION).is_file() and not (Path(base) / "config.json").is_file():
        raise AdapterError(
            f"{source}: is an adapter of {base}, which is an adapter itself; merge and save that one first"
        )
    return base
