"""What the quicker DVC writes is what DVC writes, byte for byte, and its stages run as DVC would run them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import dumps_yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from scripts.quicker_dvc import StageProcesses, parsed_once, prepare, with_entries
from tests.conftest import ROOT

KEYS = st.from_regex("[a-z_.]+", fullmatch=True)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]), max_size=120)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


@pytest.mark.parametrize("stage", ["train-base", "examine@notices-1", "companion"])
def test_an_entry_of_this_repository_is_written_as_dvc_writes_it(stage: str) -> None:
    text = (ROOT / "dvc.lock").read_text(encoding="utf-8")
    entry = parsed_once(text, "dvc.lock")["stages"][stage]
    assert with_entries(text, {stage: {**entry, "cmd": "another"}}) != text
    assert with_entries(with_entries(text, {stage: {**entry, "cmd": "another"}}), {stage: entry}) == text


@given(st.dictionaries(st.sampled_from(["a", "b@1", "c-d"]), VALUES, min_size=1), st.data())
def test_whatever_a_parameter_holds_is_written_as_dvc_writes_it(params: dict[str, Any], data: st.DataObject) -> None:
    def lock(stages: dict[str, Any]) -> dict[str, Any]:
        return {"schema": "2.0", "stages": stages}

    stages = {name: {"cmd": "true", "params": {"params.yaml": {"key": value}}} for name, value in params.items()}
    changed = data.draw(st.sampled_from([*stages, "new@stage"]))
    entry = {"cmd": "false", "params": {"params.yaml": deepcopy(params)}}  # else YAML refers to what stands above
    written = with_entries(dumps_yaml(lock(stages)), {changed: entry})
    assert written == dumps_yaml(lock({**stages, changed: entry}))
    assert parsed_once(written, "dvc.lock") == YAML(typ="safe").load(written), "though only the entry was parsed"


WHOLE = "schema: '2.0'\nstages:\n  one:\n    cmd: python stages/one.py\n    outs:\n    - path: told\n      md5: abc\n"
BROKEN = {
    "empty": "",
    "its head alone": WHOLE[:5],
    "a stage without a command": WHOLE[: WHOLE.index("    cmd")],
    "cut in a word": WHOLE[:-3],
    "no lock": "[1]\n",
    "in conflict": "<<<<<<< HEAD\n" + WHOLE,
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_lock_that_is_no_whole_one_names_the_way_out(tmp_path: Path, how: str) -> None:
    lock = tmp_path / "dvc.lock"
    prepare(tmp_path)
    lock.write_text(WHOLE)
    prepare(tmp_path)
    lock.write_text(BROKEN[how])
    with pytest.raises(SystemExit, match=f"^Error: {lock}: cut off, .*; `git checkout {lock}` brings back"):
        prepare(tmp_path)
    assert lock.read_text() == BROKEN[how]


def test_make_clean_leaves_no_broken_notes(tmp_path: Path) -> None:
    notes = tmp_path / ".dvc" / "tmp" / "rwlock"
    notes.parent.mkdir(parents=True)
    notes.write_text('{"write": {"mod')
    subprocess.run(["make", "-f", ROOT / "Makefile", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert not notes.exists()


STAGE = """
import os, signal, sys
from pathlib import Path
import beside
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "wrong":
    raise ValueError("wrong")
if sys.argv[1] == "waits":
    Path("waiting").write_text(str(os.getpid()))
    signal.pause()
Path("told").write_text(repr([beside.NAME, sys.argv, __name__, os.environ["TOLD"], sys.stdin.read()]))
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def processes() -> Iterator[StageProcesses]:
    found = StageProcesses(before=0)
    yield found
    found.end()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "one.py").write_text(STAGE)
    (tmp_path / "stages" / "beside.py").write_text("NAME = 'beside'\n")
    return tmp_path


def run(processes: StageProcesses, folder: Path, line: str) -> int:
    environment = os.environ | {"TOLD": "as it is", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    started = processes.popen(["/bin/sh", "-c", line], cwd=str(folder), env=environment, close_fds=True, shell=False)
    started.communicate()
    return int(started.returncode)


@pytest.mark.parametrize("asked", ["0", "3"])
def test_a_stage_is_run_as_the_interpreter_runs_it(processes: StageProcesses, folder: Path, asked: str) -> None:
    assert run(processes, folder, f"python stages/one.py {asked} more") == int(asked)
    told = (folder / "told").read_text()
    assert told == repr(["beside", ["stages/one.py", asked, "more"], "__main__", "as it is", ""])


def test_a_stage_that_fails_or_is_killed_says_so_and_the_next_one_runs(processes: StageProcesses, folder: Path) -> None:
    assert run(processes, folder, "python stages/one.py wrong") == 1
    assert run(processes, folder, "python stages/one.py killed") == -signal.SIGKILL
    assert run(processes, folder, "python stages/lacking.py") == 1
    assert run(processes, folder, "python stages/one.py 0") == 0


def test_what_only_a_shell_understands_goes_to_a_shell(processes: StageProcesses, folder: Path) -> None:
    assert run(processes, folder, "python stages/one.py 0; exit 7") == 7
    assert run(processes, folder, "touch $(echo here)") == 0
    assert (folder / "here").exists()


def test_ctrl_c_reaches_the_stage_alone(folder: Path) -> None:
    """DVC looks away while a stage runs, as always; the process that stages fork from is not stopped."""
    code = (
        "import os, signal, sys; from scripts.quicker_dvc import StageProcesses; p = StageProcesses(before=0);"
        "e = dict(os.environ, TOLD=''); signal.signal(signal.SIGINT, signal.SIG_IGN);"
        f"print([p.ask(['stages/one.py', [each], {str(folder)!r}, e]) for each in ('waits', '0')])"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    for _ in range(600):
        if (folder / "waiting").exists():
            break
        time.sleep(0.1)
    time.sleep(0.5)
    os.killpg(started.pid, signal.SIGINT)
    told, _ = started.communicate(timeout=60)
    assert told == "[130, 0]\n"
