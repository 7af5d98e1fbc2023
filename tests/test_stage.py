"""What a stage says around its work: of broken files, of its own faults, of committed weights before a training."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from introspection.terminal import printable
from tests.conftest import ROOT

TRAININGS = ("train_adapter.py", "train_again.py", "train_base.py", "train_organism.py", "train_zoo.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place for a stage of one line."""
    (tmp_path / "stages").mkdir()
    for name in ("common.py", "stopping.py"):
        shutil.copy(ROOT / "stages" / name, tmp_path / "stages")
    for name in ("params.yaml", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    (folder / "stages" / "one.py").write_text(
        f"from pathlib import Path\nfrom common import pinned, stage, tell_of_committed\n"
        f"@stage\ndef main(settings):\n    {line}\nmain()\n"
    )
    return subprocess.run([sys.executable, "stages/one.py"], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("raised", ["{}['key']", "None.name", "len(1)"])
def test_after_a_fault_of_the_code_stands_what_else_it_may_be(folder: Path, raised: str) -> None:
    done = run(folder, raised)
    *traceback, last = done.stderr.splitlines()
    assert done.returncode == 1
    assert traceback[0] == "Traceback (most recent call last):"
    assert last.startswith("Error: one.py ended at a fault of its code, which is above, or of a file that it reads")


def test_what_an_error_holds_does_nothing_to_the_terminal(folder: Path) -> None:
    done = run(folder, r"raise ValueError('a\x1b[2Jb\x9bc\u202e\td\ne')")
    assert done.stderr == "Error: a\\x1b[2Jb\\x9bc\\u202e\\td\ne (INTROSPECTION_TRACEBACK=1 shows where)\n"
    assert printable("naïve – 猫\n") == "naïve – 猫\n"


@pytest.mark.parametrize("text", ['{"contrast": "x"}', "[]", '{"source": 1}'])
def test_a_broken_note_of_a_model_is_named(folder: Path, text: str) -> None:
    (folder / "results" / "organism").mkdir(parents=True)
    (folder / "results" / "organism" / "model.json").write_text(text)
    done = run(folder, "pinned(settings, 'organism')")
    assert done.stderr.startswith("Error: results/organism/model.json: ") and "Traceback" not in done.stderr
    assert "; make it with `dvc repro model@organism`" in done.stderr


def test_before_a_training_stands_what_brings_committed_weights_back(folder: Path) -> None:
    line = "models/x is not what was committed, and is trained anew; `git checkout models/x` brings that back\n"
    (folder / "models").unlink()
    for name in ("x", "y"):
        (folder / "models" / name).mkdir(parents=True)
        (folder / "models" / name / "weights").write_text("1")
    tell = "tell_of_committed(Path('models/x')); tell_of_committed(Path('models/y'))"
    assert run(folder, tell).stderr == ""  # no git
    for words in (["init"], ["add", "models/x"], ["-c", "user.name=x", "-c", "user.email=x", "commit", "-m", "x"]):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
    assert run(folder, tell).stderr == ""
    (folder / "models" / "x" / "weights").write_text("2")
    assert run(folder, tell).stderr == line
    shutil.rmtree(folder / "models" / "x")
    assert run(folder, tell).stderr == line


@pytest.mark.parametrize("script", TRAININGS)
def test_every_training_says_so_first(script: str) -> None:
    text = (ROOT / "stages" / script).read_text(encoding="utf-8")
    assert 0 < text.index("    tell_of_committed(") < text.index("    train_")
    assert {path.name for path in (ROOT / "stages").glob("train_*.py")} == set(TRAININGS)
