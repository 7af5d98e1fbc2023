"""Faults while stages run: after them the next run gives the bytes of an undisturbed one. `tests/soak.py` has more."""

from __future__ import annotations

import os
import signal

import pytest

from tests.soak import STARTED, Soak, differences, kill, start

STAGE = "train-base"


@pytest.fixture(scope="module")
def soak(tmp_path_factory: pytest.TempPathFactory) -> Soak:
    return Soak.begin(tmp_path_factory.mktemp("soak"), STAGE)


def test_one_fault_upon_another_ends_with_the_same_bytes(soak: Soak) -> None:
    """Killed while it trains, then a full disk and a folder that is read-only, killed while DVC writes what came out,
    and notes of it cut in two.
    """

    def fails(**limits: int) -> str:
        run = start(soak.disturbed, "--force", "--single-item", STAGE, **limits)
        printed, _ = run.communicate()
        assert run.returncode and f"failed to reproduce '{STAGE}'" in printed, printed
        assert (soak.disturbed / "dvc.lock").read_bytes() == (soak.undisturbed / "dvc.lock").read_bytes()
        return printed

    def faults() -> None:
        models, notes = soak.disturbed / "models", soak.disturbed / ".dvc" / "tmp" / "rwlock"
        kill(soak.disturbed, STAGE, 0.3 * soak.seconds[STAGE])
        fails(largest=400_000)  # its weights are more
        models.chmod(0o555)
        assert "Permission denied: 'models/organism-base.unfinished'" in fails()
        models.chmod(0o755)
        kill(soak.disturbed, STAGE, 1.05 * soak.seconds[STAGE])
        notes.write_text('{"write": {"mod')

    found, printed = soak.fault(STAGE, faults)
    assert found == []
    assert "rwlock was broken and is deleted" in printed


def test_of_two_at_once_one_refuses_and_nothing_is_lost(soak: Soak) -> None:
    first = start(soak.disturbed, "--force", "--single-item", STAGE)
    assert first.stdout is not None
    assert any(STARTED.match(line) for line in first.stdout)
    os.killpg(first.pid, signal.SIGSTOP)  # still at work, however fast the machine is
    second = start(soak.disturbed, "--force", "--single-item", STAGE)
    printed, _ = second.communicate()
    os.killpg(first.pid, signal.SIGCONT)
    first.communicate()
    assert (first.returncode, second.returncode != 0) == (0, True)
    assert f"(PID {first.pid})" in printed
    assert differences(soak.disturbed, soak.undisturbed) == []
