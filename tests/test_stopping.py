"""Ctrl-C ends a stage in time, with status 130 and one line, wherever in its work it comes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

CODE = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
LINE = "\nstopped; results that are whole stay, and `dvc repro` goes on from there\n"
BEGUN = "from pathlib import Path\nPath('begun').touch()\n"
WORK = {
    "a long native call": f"import common, hashlib\n{BEGUN}hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)\n",
    "an import of its own": f"import common\n{BEGUN}import slow\n",
    "an import of common's": "import common\n",
}
FORKED = """
import os, signal, sys
from scripts.quicker_dvc import StageProcesses
signal.signal(signal.SIGINT, signal.SIG_IGN)
environment = dict(os.environ, PYTHONPATH=sys.argv[1])
sys.exit(StageProcesses(before=0).ask(["stages/one.py", [], ".", environment]))
"""
LIBRARIES = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from scripts import forked_stages
forked_stages.SHARED = ("slow",)
forked_stages.main(os.dup(1), 1)
"""


def interrupted(folder: Path, *command: str, path: str) -> tuple[int, str, float]:
    """Press Ctrl-C when the work of a command has begun: its status, what it says, and the seconds until its end."""
    environment = os.environ | {"PYTHONPATH": path}
    run = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a job in the background has ignored
    )
    assert run.stdin is not None
    run.stdin.write("[]\n")
    run.stdin.flush()
    while not (folder / "begun").exists():
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    time.sleep(0.3)
    os.killpg(run.pid, signal.SIGINT)
    began = time.monotonic()
    try:
        _, told = run.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        raise
    return run.returncode, told, time.monotonic() - began


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stages").mkdir()
    for name in ("common.py", "stopping.py"):
        shutil.copy(ROOT / "stages" / name, tmp_path / "stages")
    (tmp_path / "stages" / "slow.py").write_text("import time\ntime.sleep(60)\n")
    return tmp_path


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("way", ["alone", "forked"])
def test_ctrl_c_ends_a_stage_in_time_with_one_line(folder: Path, way: str, work: str) -> None:
    (folder / "stages" / "one.py").write_text(WORK[work])
    path = CODE
    if work == "an import of common's":
        package = folder / "slowly" / "introspection"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"{BEGUN}import time\ntime.sleep(60)\n")
        path = str(package.parent)
    if way == "alone":
        status, told, seconds = interrupted(folder, "stages/one.py", path=path)
    else:
        status, told, seconds = interrupted(folder, "-c", FORKED, path, path=CODE)
    assert (status, told) == (130, LINE)
    assert seconds < 4


def test_ctrl_c_ends_the_imports_that_come_before_any_stage(folder: Path) -> None:
    (folder / "slow.py").write_text(f"{BEGUN}import time\ntime.sleep(60)\n")
    status, told, seconds = interrupted(folder, "-c", LIBRARIES, path=str(folder))
    assert (status, told) == (130, LINE)
    assert seconds < 4
