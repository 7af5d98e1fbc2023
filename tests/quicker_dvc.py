"""DVC in this process, with the same outcome as its command line, but parsing each file once and not once a stage."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dvc.output import Output
from dvc.repo import Repo
from ruamel.yaml import YAML


@cache
def _parsed(text: str) -> Any:
    return YAML(typ="safe").load(text) or {}


def parsed_once(text: str, path: str, typ: str = "safe") -> Any:
    """What DVC parses anew for every stage."""
    return deepcopy(_parsed(text)) if typ == "safe" else YAML(typ=typ).load(text) or {}


def value_at(config: Any, key_path: str, separator: str) -> Any:
    """A parameter by its key, for which dpath.get walks through all that params.yaml holds."""
    for key in key_path.split(separator):
        config = config[key if isinstance(config, dict) else int(key)]
    return config


@contextmanager
def changed(path: str, fs: Any = None) -> Iterator[Any]:
    """What dvc.lock holds, to be changed; DVC keeps its comments, of which it has but one."""
    file = Path(path)
    data = parsed_once(file.read_text(encoding="utf-8"), path)
    yield data
    with file.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(data, stream)


@contextmanager
def repository(project: Path) -> Iterator[Repo]:
    """The project's repository, whose stages are run by the python that runs this."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with ExitStack() as stack:
        stack.enter_context(chdir(project))
        stack.enter_context(patch.dict(os.environ, {"PATH": path}))
        for module in ("serialize._yaml", "strictyaml"):
            stack.enter_context(patch(f"dvc.utils.{module}.parse_yaml", parsed_once))
        stack.enter_context(patch("dvc.dvcfile.modify_yaml", changed))
        stack.enter_context(patch("dpath.get", value_at))
        yield stack.enter_context(Repo())


def status(project: Path) -> dict[str, Any]:
    """What `dvc status` says, where each file is looked at once, and not once for every stage that depends on it."""
    hashed: dict[tuple[Any, ...], Any] = {}
    hash_anew = Output._get_hash_meta

    def hash_once(output: Output) -> Any:
        place = (output.fs_path, output.use_cache, output.hash_name, output.IS_DEPENDENCY)
        if place not in hashed:
            hashed[place] = hash_anew(output)
        return hashed[place]

    with repository(project) as repo, patch.object(Output, "_get_hash_meta", hash_once):
        found: dict[str, Any] = repo.status()
    return found
