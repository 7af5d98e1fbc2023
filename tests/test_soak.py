"""Faults while stages run: after them the next run gives the bytes of an undisturbed one. `tests/soak.py` has more."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from tests.soak import STARTED, Soak, differences, kill, start

QUICK, TRAINING = "published", "train-base"


@pytest.fixture(scope="module")
def soak(tmp_path_factory: pytest.TempPathFactory) -> Soak:
    return Soak.begin(tmp_path_factory.mktemp("soak"), "--force", "--single-item", QUICK, TRAINING)


def fails(soak: Soak, stage: str, **limits: int) -> str:
    """Run a stage that cannot be run, after which the record is what it was; returns what it says."""
    run = start(soak.disturbed, "--force", "--single-item", stage, **limits)
    printed, _ = run.communicate()
    assert run.returncode and f"failed to reproduce '{stage}'" in printed, printed
    assert (soak.disturbed / "dvc.lock").read_bytes() == (soak.undisturbed / "dvc.lock").read_bytes()
    return printed


def test_a_training_that_is_killed_and_a_full_disk_end_with_the_same_bytes(soak: Soak) -> None:
    def faults() -> None:
        kill(soak.disturbed, TRAINING, 0.8 * soak.seconds[TRAINING])
        assert "File too large" in fails(soak, TRAINING, largest=400_000)  # its weights are more

    assert soak.fault(TRAINING, faults)[0] == []


def test_one_fault_upon_another_ends_with_the_same_bytes(soak: Soak) -> None:
    """A folder that is read-only, a kill while DVC writes what came out, and notes of it that are cut in two."""

    def faults() -> None:
        results, notes = soak.disturbed / "results", soak.disturbed / ".dvc" / "tmp" / "rwlock"
        shutil.rmtree(results / QUICK)  # else DVC, which removes it before the stage, is refused
        results.chmod(0o555)
        assert f"Permission denied: 'results/{QUICK}'" in fails(soak, QUICK)
        results.chmod(0o755)
        kill(soak.disturbed, QUICK, 1.05 * soak.seconds[QUICK])
        notes.write_text('{"write": {"mod')

    found, printed = soak.fault(QUICK, faults)
    assert found == []
    assert "rwlock was broken and is deleted" in printed


def test_of_two_at_once_one_refuses_and_nothing_is_lost(soak: Soak) -> None:
    """While the paper builds: the same again, and what would write the tables that it reads."""
    pdf = soak.disturbed / "paper" / "build" / "paper.pdf"
    before = pdf.read_bytes()
    first = start(soak.disturbed, "--force", "--single-item", "paper")
    assert first.stdout is not None
    assert any(STARTED.match(line) for line in first.stdout)
    os.killpg(first.pid, signal.SIGSTOP)  # still at work, however fast the machine is
    for other in ("paper", "tables"):
        second = start(soak.disturbed, "--force", "--single-item", other)
        printed, _ = second.communicate()
        assert second.returncode and f"(PID {first.pid})" in printed, other
    os.killpg(first.pid, signal.SIGCONT)
    first.communicate()
    assert first.returncode == 0 and pdf.read_bytes() == before
    assert differences(soak.disturbed, soak.undisturbed) == []
