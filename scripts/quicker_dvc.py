"""DVC's own command line, with the same outcome, that spends seconds on a stage neither before nor after it runs.

    python scripts/quicker_dvc.py repro --force --single-item ...

After every stage DVC reads and writes all of dvc.lock anew, by a parser in pure Python that keeps a file's comments.
This one has 16,000 lines and no comments, and takes 6 s. Here it is read once, and the entry of the stage is put in.
Stages run in processes in which the libraries are imported already (`forked_stages.py`).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, TextIO
from unittest.mock import patch

from dvc.cli import main
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.serialize import dumps_yaml
from ruamel.yaml import YAML, YAMLError
from voluptuous import Invalid

from introspection.settings import SettingsError, load_settings
from introspection.terminal import printable

_EMPTY = "schema: '2.0'\nstages:\n"


_known: dict[str, Any] = {}  # by text, what was parsed last
_AT_ONCE = 16  # texts: dvc.yaml, params.yaml, and dvc.lock as it was and is


def _parsed(text: str) -> Any:
    """What a text of YAML holds, which nobody changes."""
    return _known[text] if text in _known else _know(text, YAML(typ="safe").load(text) or {})


def _know(text: str, content: Any) -> Any:
    while len(_known) >= _AT_ONCE:
        del _known[next(iter(_known))]
    _known[text] = content
    return content


def parsed_once(text: str, path: str, typ: str = "safe") -> Any:
    """What DVC parses anew for every stage."""
    return deepcopy(_parsed(text)) if typ == "safe" else YAML(typ=typ).load(text) or {}


def with_entries(lock: str, entries: Mapping[str, Any]) -> str:
    """The text of dvc.lock with these entries of stages in it, each as DVC writes it: in its place, or at the end.

    What it holds is known then: of all the others nothing is parsed anew.
    """
    head, *old = re.split(r"^(?=  \S)", lock, flags=re.MULTILINE)
    texts = {entry.partition("\n")[0]: entry for entry in old}
    content = _parsed(lock)
    stages = dict(content["stages"] or {})
    for name, entry in entries.items():
        alone = dumps_yaml({"stages": {name: entry}})
        stages |= YAML(typ="safe").load(alone)["stages"]
        text = alone.removeprefix("stages:\n")
        texts[text.partition("\n")[0]] = text
    whole = head + "".join(texts.values())
    _know(whole, {**content, "stages": stages})
    return whole


@contextmanager
def _changed(path: str, fs: Any = None) -> Iterator[Any]:
    """What dvc.lock holds, whose entries are to be changed or added to."""
    file = Path(path)
    text = file.read_text(encoding="utf-8") if file.exists() else _EMPTY
    before = _parsed(text)["stages"] or {}
    data = {"schema": "2.0", "stages": dict(before)}
    yield data
    changed = {name: entry for name, entry in data["stages"].items() if before.get(name) != entry}
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(with_entries(text, changed), encoding="utf-8")
    unfinished.replace(file)  # whole at any moment: DVC itself leaves a part of it where it is killed


def _value_at(config: Any, key_path: str, separator: str) -> Any:
    """A parameter by its key, for which dpath.get walks through all that params.yaml holds."""
    for key in key_path.split(separator):
        config = config[key if isinstance(config, dict) else int(key)]
    return config


class StageProcesses:
    """Starts what DVC starts: a stage in a process that forks from one with the libraries, all else as DVC would.

    said: files that take what stages write to their two streams; None: the streams of this process do. before: the
    number of the stage before which the libraries are imported; 0: they never are.
    """

    def __init__(self, said: tuple[IO[bytes], IO[bytes]] | None = None, before: int = 2) -> None:
        self._out, self._errors = said or (None, None)
        self._before = before
        self._server: subprocess.Popen[str] | None = None
        self._replies: TextIO | None = None

    def popen(self, command: list[str], **named: Any) -> Any:
        """In place of subprocess.Popen, for what DVC asks of it."""
        line = command[-1]
        if not re.fullmatch(r"python stages/\w+\.py( [\w.-]+)*", line):  # what only a shell understands
            return subprocess.Popen(command, **named)
        _, script, *arguments = shlex.split(line)
        return _Stage(self, [script, arguments, named["cwd"], named["env"]])

    def ask(self, request: list[Any]) -> int:
        """The exit status of a stage, which has run."""
        if self._server is None or self._replies is None:
            reading, writing = os.pipe()
            script = Path(__file__).with_name("forked_stages.py")
            server = [sys.executable, str(script), str(writing), str(self._before)]
            self._server = subprocess.Popen(
                server, stdin=subprocess.PIPE, stdout=self._out, stderr=self._errors, text=True, pass_fds=[writing]
            )
            os.close(writing)
            self._replies = os.fdopen(reading)
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        reply = self._replies.readline()
        return int(reply) if reply else self._server.wait()  # the server has ended, and the stage with it

    def end(self) -> None:
        """No stage comes any more."""
        if self._server is not None and self._server.stdin is not None and self._replies is not None:
            self._server.stdin.close()
            self._server.wait()
            self._replies.close()
        self._server = None


@dataclass
class _Stage:
    """What DVC uses of a process that it has started."""

    processes: StageProcesses
    request: list[Any]
    returncode: int = 0

    def communicate(self) -> None:
        """Wait until the stage has run, and say on a line of its own how long that was."""
        started = time.monotonic()
        self.returncode = self.processes.ask(self.request)
        stage = self.request[-1].get("DVC_STAGE")
        if stage and self.returncode == 0:
            print(f"\nstage {stage}: {time.monotonic() - started:.1f} s", file=sys.stderr)


@contextmanager
def quicker(popen: Callable[..., Any] | None = None) -> Iterator[None]:
    """DVC in this process, within the block. popen: what starts its stages; None: processes of its own."""
    with ExitStack() as stack:
        if popen is None:
            processes = StageProcesses()
            stack.callback(processes.end)
            popen = processes.popen
        stack.enter_context(patch("dvc.stage.run.subprocess", SimpleNamespace(Popen=popen)))
        for module in ("serialize._yaml", "strictyaml"):
            stack.enter_context(patch(f"dvc.utils.{module}.parse_yaml", parsed_once))
        stack.enter_context(patch("dvc.dvcfile.modify_yaml", _changed))
        stack.enter_context(patch("dpath.get", _value_at))
        yield


def prepare(project: Path) -> None:
    """What comes before DVC has read anything. Ends with a line where it may not read the project's files."""
    mend(project)
    try:
        check(project)
    except (SettingsError, LockError) as error:
        sys.exit(f"Error: {printable(str(error))}")


class LockError(ValueError):
    """dvc.lock is no whole one."""


def check(project: Path) -> None:
    """Raise SettingsError or LockError where DVC is not to be given params.yaml or dvc.lock.

    It hands keys of params.yaml to a shell and deletes paths that are made of them, without the stage `check` where
    that is not asked for; it writes out what aliases stand for; and of a broken dvc.lock it names no way out.
    """
    parameters, lock = project / "params.yaml", project / "dvc.lock"
    if parameters.exists():
        load_settings(parameters)
    if lock.exists() and not _is_whole(lock):
        raise LockError(
            f"{lock}: cut off, or no record of what was run; `git checkout {lock}` brings back the one committed, and "
            "what was run since then runs again"
        )


def _is_whole(lock: Path) -> bool:
    """Whether it is what DVC writes. Most of what is cut off inside a line would be some lock, and read as one."""
    try:
        text = lock.read_text(encoding="utf-8")
        COMPILED_LOCKFILE_SCHEMA(_parsed(text))
    except (YAMLError, ValueError, Invalid):
        return False
    return text.endswith("\n")


def mend(project: Path) -> None:
    """Delete what DVC notes of running processes, where a full disk or a kill has left it broken.

    DVC refuses all work then, and would for ever; whole, it drops what processes have noted that are gone.
    """
    notes = project / ".dvc" / "tmp" / "rwlock"
    for _ in range(10):  # another run may be writing it
        try:
            json.loads(notes.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except ValueError:
            time.sleep(0.1)
        else:
            return
    notes.unlink()
    print(f"{notes} was broken and is deleted: no run noted in it goes on", file=sys.stderr)


if __name__ == "__main__":
    prepare(Path())
    with quicker():
        sys.exit(main(sys.argv[1:]))
