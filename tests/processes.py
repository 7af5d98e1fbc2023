"""Scripts in processes of their own, which fork from one that has the libraries: they take 10 s on a slow machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile

from tests.small_study import ROOT, code_of


class _Server:
    """`scripts/forked_stages.py`, and what the scripts that it runs have said."""

    def __init__(self) -> None:
        self._said = TemporaryFile(), TemporaryFile()  # noqa: SIM115 - as long as the tests run
        reading, writing = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "scripts" / "forked_stages.py"), str(writing)],
            stdin=subprocess.PIPE,
            stdout=self._said[0],
            stderr=self._said[1],
            text=True,
            pass_fds=[writing],
        )
        os.close(writing)
        self._replies = os.fdopen(reading)

    def run(self, script: str, arguments: list[str], folder: str, environment: dict[str, str]) -> tuple[int, str, str]:
        """The exit status of a script, and what it wrote to its two streams."""
        for file in self._said:
            file.truncate(0)
            os.lseek(file.fileno(), 0, os.SEEK_SET)  # the process writes where this one is: they share the place
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([script, arguments, folder, environment]) + "\n")
        self._process.stdin.flush()
        status = int(self._replies.readline())
        out, errors = (os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode() for file in self._said)
        return status, out, errors


_server = cache(_Server)


def run_script(
    folder: Path, script: Path | str, *arguments: str, code: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder as the interpreter would. code: the copy of the project whose code it imports."""
    environment = os.environ | (code_of(code) if code else {})
    status, out, errors = _server().run(str(folder / script), [*arguments], str(folder), dict(environment))
    return subprocess.CompletedProcess([str(script), *arguments], status, out, errors)
