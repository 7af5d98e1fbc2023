"""Kill stages of a small study at random moments: the next run must finish with the bytes of an undisturbed one.

    python -m tests.soak --kills 50

Every kind of stage is killed in turn, training too, by SIGKILL to all of its processes, at a moment drawn between its
start and a second after its usual end, when DVC writes dvc.lock. Then the stage is run as after any fault, and
all files and dvc.lock are compared with those of a copy that nothing disturbed.
"""

from __future__ import annotations

import ctypes
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from resource import RLIMIT_FSIZE, setrlimit

import click
from ruamel.yaml import YAML

from tests.small_study import ROOT, code_of, copy_project, measure_little, train_little

STARTED = re.compile(r"Running stage '(.+)'")
_DROP_CAPABILITY, _WRITE_ANYWHERE = 24, 1  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
REPRO = (sys.executable, str(ROOT / "scripts" / "quicker_dvc.py"), "repro")


def small_project(folder: Path) -> Path:
    """A small study, of which nothing has been run."""
    return train_little(measure_little(copy_project(folder)))


def start(project: Path, *arguments: str, largest: int | None = None) -> subprocess.Popen[str]:
    """Begin a run, in a process group of its own. largest: bytes after which no file takes more, as on a full disk."""

    def limit() -> None:
        if largest is not None:
            setrlimit(RLIMIT_FSIZE, (largest, largest))
        if sys.platform == "linux":  # for root too, a folder can be read-only
            ctypes.CDLL(None).prctl(_DROP_CAPABILITY, _WRITE_ANYWHERE)

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        [*REPRO, *arguments],
        cwd=project,
        env=os.environ | code_of(project) | {"PATH": path, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=limit,
    )


def finish(project: Path, *arguments: str) -> str:
    """Run to the end, and return what was printed. Raises RuntimeError where the run fails."""
    run = start(project, *arguments)
    printed, _ = run.communicate()
    if run.returncode:
        raise RuntimeError(f"repro {' '.join(arguments)} fails:\n{printed[-3000:]}")
    return printed


def times(project: Path, *asked: str) -> dict[str, float]:
    """Have DVC reproduce what is asked for, all by default, undisturbed. Returns the seconds of each stage that ran."""
    run, began = start(project, *asked), {}
    assert run.stdout is not None
    printed = []
    for line in run.stdout:
        printed.append(line)
        if stage := STARTED.match(line):
            began[stage[1]] = time.monotonic()
    if run.wait():
        raise RuntimeError(f"the undisturbed run fails:\n{''.join(printed)[-3000:]}")
    ends = [*list(began.values())[1:], time.monotonic()]
    return {stage: end - begin for (stage, begin), end in zip(began.items(), ends, strict=True)}


def kill(project: Path, stage: str, after: float) -> None:
    """Run a stage anew, and kill all of its processes so many seconds after its start."""
    run = start(project, "--force", "--single-item", stage)
    assert run.stdout is not None
    for line in run.stdout:
        if STARTED.match(line):
            break
    time.sleep(after)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()


def outputs(project: Path) -> Iterator[Path]:
    """The files that stages have written, and dvc.lock, relative to the project."""
    lock = YAML(typ="safe").load((project / "dvc.lock").read_text(encoding="utf-8"))
    yield Path("dvc.lock")
    for stage in lock["stages"].values():
        for out in stage.get("outs", ()):
            path = project / out["path"]
            yield from (file.relative_to(project) for file in (path.rglob("*") if path.is_dir() else [path]))


def differences(project: Path, undisturbed: Path) -> list[str]:
    """The files of either that are not the same in the other."""
    every = {*outputs(project), *outputs(undisturbed)}
    return sorted(str(path) for path in every if content(project / path) != content(undisturbed / path))


def content(path: Path) -> bytes | None:
    """The bytes of a file; of a folder nothing, None where there is neither."""
    return (b"" if path.is_dir() else path.read_bytes()) if path.exists() else None


@dataclass
class Soak:
    """Two copies of a small study, one of them disturbed."""

    undisturbed: Path
    disturbed: Path
    seconds: dict[str, float]

    @classmethod
    def begin(cls, folder: Path, *asked: str) -> Soak:
        """Have DVC reproduce what is asked for of the study, all by default, and copy it."""
        undisturbed, disturbed = small_project(folder / "undisturbed"), folder / "disturbed"
        seconds = times(undisturbed, *asked)
        shutil.copytree(undisturbed, disturbed, symlinks=True)
        return cls(undisturbed, disturbed, seconds)

    def fault(self, stage: str, happens: Callable[[], None]) -> tuple[list[str], str]:
        """What differs after a fault while a stage ran and the next run of that stage, and what that printed."""
        happens()
        printed = finish(self.disturbed, "--single-item", stage)
        return differences(self.disturbed, self.undisturbed), printed


@click.command()
@click.option("--kills", default=50, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(kills: int, seed: int) -> None:
    """Kill stages of a small study, and end with status 1 where a run after that leaves other bytes."""
    drawn = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak.begin(Path(folder))
        kinds: dict[str, list[str]] = {}
        for stage in soak.seconds:
            kinds.setdefault(stage.partition("@")[0], []).append(stage)
        click.echo(f"{len(soak.seconds)} stages of {len(kinds)} kinds, {sum(soak.seconds.values()):.0f} s undisturbed")
        order = drawn.sample(list(kinds), len(kinds))
        wrong: list[str] = []
        killed: Counter[str] = Counter()
        for turn in range(kills):
            kind = order[turn % len(order)]
            stage = drawn.choice(kinds[kind])
            after = drawn.uniform(0, soak.seconds[stage] + 1)
            found, _ = soak.fault(stage, lambda stage=stage, after=after: kill(soak.disturbed, stage, after))
            killed[kind] += 1
            click.echo(
                f"{turn + 1}: {stage}, killed after {after:.1f} s of {soak.seconds[stage]:.1f}: {found or 'same'}"
            )
            wrong += found
        again = STARTED.findall(finish(soak.disturbed))
        click.echo(f"{kills} kills in {len(killed)} kinds of stages; a whole run after them runs {again or 'nothing'}")
    if wrong or again:
        sys.exit(1)


if __name__ == "__main__":
    main()
