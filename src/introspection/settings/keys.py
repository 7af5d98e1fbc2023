"""Keys of params.yaml that become names of folders and words of commands, and so may be nothing but plain words."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

LONGEST_KEY = 64  # file names are made of it


def _plain(key: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", key):
        raise ValueError(
            "use letters, digits, '-' and '_' only, and no '-' first: it names folders, it is a word of a command, "
            "and DVC splits names at dots"
        )
    if len(key) > LONGEST_KEY:
        raise ValueError(f"use at most {LONGEST_KEY} characters: files are named after it")
    return key


Key = Annotated[str, Field(strict=True), AfterValidator(_plain)]
