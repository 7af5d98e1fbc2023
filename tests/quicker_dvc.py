"""The repository of a project in this process, for tests that run its stages or ask what is stale."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dvc.output import Output
from dvc.repo import Repo

from scripts.quicker_dvc import quicker
from tests.processes import hush, processes, said


@contextmanager
def within(project: Path) -> Iterator[None]:
    """Stages are run by the python that runs this, in the project; what they say is said at the end."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with chdir(project), patch.dict(os.environ, {"PATH": path}), quicker(processes().popen):
        hush()
        try:
            yield
        finally:
            sys.stderr.write(said().errors)


@contextmanager
def repository(project: Path) -> Iterator[Repo]:
    """The project's repository."""
    with within(project), Repo() as repo:
        yield repo


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
