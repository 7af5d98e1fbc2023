"""DVC's own command line, that runs several stages at a time: each as soon as all that it reads is written.

    python -m scripts.lanes LANES repro --force --single-item ...

DVC runs one stage after another; to run more, one is to start it several times, on stages that one has chosen so that
none reads what another writes. Here one DVC gives the next stage that is ready to the next lane that is free. It holds
its lock as ever but while a stage runs. The lanes share the cores: threads that wait for each other leave them idle for
a fifth of the time, and processes of one thread each do not.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dvc.cli import main
from dvc.repo import reproduce as one_after_another

from scripts.quicker_dvc import StageProcesses, prepare, quicker


class _Lane(StageProcesses):
    """A lane's stages. turn: is held by the lane for which DVC works."""

    def __init__(self, turn: threading.Lock) -> None:
        super().__init__()
        self._turn = turn

    def ask(self, request: list[Any]) -> int:
        """As ever, while DVC works for other lanes."""
        mine = sys.argv
        self._turn.release()
        try:
            return super().ask(request)
        finally:
            self._turn.acquire()
            sys.argv = mine


class Lanes:
    """So many lanes, each a thread that has DVC reproduce a stage, one at a time but while their commands run."""

    def __init__(self, count: int) -> None:
        self._turn = threading.Lock()
        self._lanes = [_Lane(self._turn) for _ in range(count)]
        self._here = threading.local()

    def popen(self, command: list[str], **named: Any) -> Any:
        """In place of subprocess.Popen, for what DVC asks of it: on the lane of the thread that asks."""
        return self._here.lane.popen(command, **named)

    def end(self) -> None:
        """No stage comes any more."""
        for lane in self._lanes:
            lane.end()

    def reproduce(
        self,
        stages: list[Any],
        graph: Any = None,
        force_downstream: bool = False,
        on_error: str = "fail",
        force: bool = False,
        repro_fn: Callable[..., Any] = one_after_another._reproduce_stage,
        **named: Any,
    ) -> list[Any]:
        """In place of DVC's loop over stages: what was reproduced. After a failure no other stage is begun."""
        if force_downstream or on_error != "fail":
            raise ValueError("several stages at a time: neither --force-downstream nor --keep-going is known here")
        repo = stages[0].repo
        reads = graph or repo.index.graph
        waiting = {stage: set(reads.successors(stage)) & set(stages) for stage in stages}

        def run(stage: Any) -> Any:
            with self._turn, repo.lock:
                sys.argv = [__file__, stage.addressing]  # DVC notes beside the files that it locks whose they are
                upstream = list(graph.successors(stage)) if graph else []
                return repro_fn(stage, upstream=upstream, force=force, **named)

        free = iter(self._lanes)

        def take_lane() -> None:
            self._here.lane = next(free)

        done: list[Any] = []
        failed: list[tuple[Any, BaseException]] = []
        running: dict[Future[Any], Any] = {}
        repo.lock.unlock()
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the stages, and they say that they stopped
        try:
            with ThreadPoolExecutor(len(self._lanes), initializer=take_lane) as pool:
                while running or (waiting and not failed):
                    ready = [] if failed else [stage for stage, before in waiting.items() if not before]
                    for stage in ready[: len(self._lanes) - len(running)]:
                        del waiting[stage]
                        running[pool.submit(run, stage)] = stage
                    for ended in wait(running, return_when=FIRST_COMPLETED).done:
                        stage = running.pop(ended)
                        if error := ended.exception():
                            failed.append((stage, error))
                            continue
                        if ended.result():
                            done.append(stage)
                        for before in waiting.values():
                            before.discard(stage)
        finally:
            signal.signal(signal.SIGINT, handler)
            repo.lock.lock()
        if failed:
            stage, error = failed[0]
            one_after_another._raise_error(error if isinstance(error, Exception) else None, stage)
        return done


@contextmanager
def in_lanes(count: int) -> Iterator[None]:
    """DVC in this process, within the block."""
    lanes = Lanes(count)
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    try:
        with (
            patch.dict(os.environ, threads | os.environ),
            quicker(lanes.popen),
            patch("dvc.repo.reproduce._reproduce", lanes.reproduce),
        ):
            yield
    finally:
        lanes.end()


if __name__ == "__main__":
    prepare(Path())
    with in_lanes(int(sys.argv[1])):
        sys.exit(main(sys.argv[2:]))
