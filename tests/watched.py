"""What code does outside of memory: the files that it writes and opens, and what it starts or connects to."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

_BESIDE = {"os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink"}  # may be told the number of an open folder
_CHANGES = {*_BESIDE, "os.mkdir", "os.truncate", "shutil.rmtree"}
_STARTS = {
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "socket.connect",
    "webbrowser.open",
}


@dataclass
class Seen:
    """read, changed: files and folders, absolute. started: programs, and events of a connection or a shell."""

    read: set[Path] = field(default_factory=set)
    changed: set[Path] = field(default_factory=set)
    started: set[str] = field(default_factory=set)

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take down an event of the interpreter."""
        if event == "open" and isinstance(arguments[0], str | os.PathLike):
            mode, flags = arguments[1], arguments[2]
            writes = set(mode) & set("wxa+") if isinstance(mode, str) else flags & (os.O_WRONLY | os.O_RDWR)
            (self.changed if writes else self.read).add(Path(arguments[0]).absolute())
        elif event in _CHANGES:
            paths = [each for each in arguments if isinstance(each, str | os.PathLike)]
            folders = [each for each in arguments if isinstance(each, int) and each >= 0 and event in _BESIDE]
            base = Path(f"/proc/self/fd/{folders[-1]}").readlink() if folders else Path.cwd()
            self.changed |= {base / each for each in paths}
        elif event in _STARTS:
            self.started.add(Path(str(arguments[0])).name if event == "subprocess.Popen" else event)


_watching: list[Seen] = []


@contextmanager
def watched() -> Iterator[Seen]:
    """What happens inside the context, in this process."""
    _install()
    _watching.append(seen := Seen())
    try:
        yield seen
    finally:
        _watching.remove(seen)


@cache
def _install() -> None:
    """Once: a hook cannot be taken away again."""

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        for seen in _watching:
            seen.note(event, arguments)

    sys.addaudithook(note)
