"""Faults while stages run: after them the next run gives the bytes of an undisturbed one. `tests/soak.py` has more."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest

from tests.soak import STARTED, Soak, differences, finish, kill, start

STAGE = "train-base"


@pytest.fixture(scope="module")
def soak(tmp_path_factory: pytest.TempPathFactory) -> Soak:
    return Soak.begin(tmp_path_factory.mktemp("soak"), STAGE)


@pytest.mark.parametrize("share", [0.3, 1.05])  # while it trains; while DVC writes what has come out
def test_killed_it_ends_with_the_same_bytes(soak: Soak, share: float) -> None:
    assert soak.fault(STAGE, partial(kill, soak.disturbed, STAGE, share * soak.seconds[STAGE])) == []


def test_a_full_disk_leaves_no_part_of_a_file(soak: Soak) -> None:
    def fill() -> None:
        run = start(soak.disturbed, "--force", "--single-item", STAGE, largest=400_000)  # its weights are more
        printed, _ = run.communicate()
        assert run.returncode and f"failed to reproduce '{STAGE}'" in printed, printed
        assert (soak.disturbed / "dvc.lock").read_bytes() == (soak.undisturbed / "dvc.lock").read_bytes()

    assert soak.fault(STAGE, fill) == []


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


def test_notes_of_running_processes_that_are_broken_stop_nothing(soak: Soak) -> None:
    notes = soak.disturbed / ".dvc" / "tmp" / "rwlock"
    notes.write_text('{"write": {"mod')
    assert "rwlock was broken and is deleted" in finish(soak.disturbed, "--single-item", STAGE)
    assert differences(soak.disturbed, soak.undisturbed) == []
