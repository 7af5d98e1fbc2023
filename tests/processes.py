"""Scripts in processes of their own, which fork from one that has the libraries: they take 10 s on a slow machine."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from scripts.quicker_dvc import StageProcesses
from tests.small_study import code_of

_files = cache(lambda: (TemporaryFile(), TemporaryFile()))  # noqa: SIM115 - as long as the tests run

processes = cache(lambda: StageProcesses(_files(), before=1))
"""What starts them, one for all tests."""


class Said(NamedTuple):
    """What scripts have written to their two streams."""

    out: str
    errors: str


def said() -> Said:
    """What was written since `hush`."""
    return Said(*(os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode() for file in _files()))


def hush() -> None:
    """Forget what was written so far."""
    for file in _files():
        file.truncate(0)
        os.lseek(file.fileno(), 0, os.SEEK_SET)  # scripts write where this file is: they share the place


def run_script(
    folder: Path, script: Path | str, *arguments: str, code: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder as the interpreter would. code: the copy of the project whose code it imports."""
    environment = os.environ | (code_of(code) if code else {})
    hush()
    status = processes().ask([str(folder / script), [*arguments], str(folder), dict(environment)])
    return subprocess.CompletedProcess([str(script), *arguments], status, *said())
