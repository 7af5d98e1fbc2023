"""Stages in lanes: those that read what others write wait for them, others run at the same time; all as DVC does it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo

from scripts.forked_stages import SHARED
from tests.conftest import ROOT
from tests.dependencies import STAGES

STAGE = """
import sys, time
from pathlib import Path
name, *reads = sys.argv[1:]
began = Path("began")
began.joinpath(name).touch()
ended = sorted(path.name for path in Path("ended").iterdir())
assert all(Path(each).exists() for each in reads), reads
until = time.monotonic() + 60
for other in Path("together").read_text().split():
    while not began.joinpath(other).exists() and time.monotonic() < until:
        time.sleep(0.01)
if name == "fails":
    sys.exit(3)
if name == "slow":
    time.sleep(1.5)
Path(name).write_text(" ".join([name, *(Path(each).read_text() for each in reads)]))
Path("ended").joinpath(name).write_text(" ".join(ended))
"""


def project(folder: Path, stages: dict[str, list[str]], together: str = "") -> Path:
    """Stages that each write a file of their name, from the files of others, once those named have begun."""
    for name in ("stages", "began", "ended"):
        (folder / name).mkdir(parents=True)
    (folder / "together").write_text(together)
    (folder / "stages" / "one.py").write_text(STAGE)
    described = {
        name: {"cmd": f"python stages/one.py {' '.join([name, *reads])}", "deps": reads, "outs": [name]}
        for name, reads in stages.items()
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": described}, sort_keys=False))
    with chdir(folder):
        Repo.init(no_scm=True)
    return folder


def reproduce(folder: Path, *asked: str) -> subprocess.CompletedProcess[str]:
    for name in SHARED:  # every lane imports them ahead, and these stages need none: they are empty
        package = folder / "empty"
        for part in name.split("."):
            package /= part
            package.mkdir(parents=True, exist_ok=True)
            (package / "__init__.py").touch()
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(folder / "empty"), str(ROOT)]),
    }
    command = [sys.executable, "-m", *asked]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def ended_before(folder: Path, name: str) -> set[str]:
    """The stages that had ended when this one began."""
    return set((folder / "ended" / name).read_text().split())


def lock(folder: Path) -> Any:
    return yaml.safe_load((folder / "dvc.lock").read_text())


@pytest.mark.parametrize("single", [True, False])
def test_what_is_reproduced_is_what_dvc_reproduces(tmp_path: Path, single: bool) -> None:
    stages = {"a": [], "b": [], "c": ["a"], "d": ["b", "c"], "e": ["a"]}
    lanes, alone = project(tmp_path / "lanes", stages, together="a b"), project(tmp_path / "alone", stages)
    options = ["--force", "--single-item", *stages] if single else []
    run = reproduce(lanes, "scripts.lanes", "2", "repro", *options)
    assert run.returncode == 0, run.stderr
    assert reproduce(alone, "dvc", "repro", *options).returncode == 0
    assert lock(lanes) == lock(alone)
    assert (lanes / "d").read_text() == "d b c a"
    for stage, before in stages.items():
        assert ended_before(lanes, stage) >= set(before)
        assert f"stage {stage}: " in run.stderr
    assert not ended_before(lanes, "a") | ended_before(lanes, "b")
    if not single:
        again = reproduce(lanes, "scripts.lanes", "2", "repro")
        assert again.returncode == 0 and "Running stage" not in again.stdout


def test_after_a_failure_what_runs_is_finished_and_nothing_else_begins(tmp_path: Path) -> None:
    folder = project(
        tmp_path / "lanes", {"fails": [], "slow": [], "b": ["fails"], "c": ["slow"]}, together="fails slow"
    )
    run = reproduce(folder, "scripts.lanes", "2", "repro")
    assert run.returncode != 0 and "fails" in run.stderr
    assert set(lock(folder)["stages"]) == {"slow"}
    assert not (folder / "b").exists() and not (folder / "c").exists()
    assert not (folder / ".dvc" / "tmp" / "lock").exists() or reproduce(folder, "dvc", "status").returncode == 0


def test_what_make_reproduces_needs_nothing_that_only_a_training_leaves() -> None:
    """It runs in a clone, which has nothing below `build`: what a stage reads there, another that it runs writes."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (word,) = re.findall(r"^OF_TRAINING = (.*)$", makefile, re.MULTILINE)
    makefile = makefile.replace("$(OF_TRAINING)", word)
    (left_out,) = re.findall(r"REPRO_IN_LANES\) .* grep -v '(.*)'\)", makefile)
    (trained,) = re.findall(r"REPRO_IN_LANES\) .* grep '(.*)'\)", makefile)
    of_training = {name for name in STAGES if re.match(trained.replace(r"\|", "|"), name)}
    reproduced = {name for name in STAGES if not re.match(left_out.replace(r"\|", "|"), name)}
    assert reproduced | of_training | {"fetch"} == set(STAGES) and not reproduced & of_training
    read = {path for name in reproduced for path in STAGES[name]["deps"] if path.startswith("build/")}
    outputs = (out for name in reproduced for out in STAGES[name].get("outs", ()))
    written = {out if isinstance(out, str) else next(iter(out)) for out in outputs}
    assert read and read <= written
