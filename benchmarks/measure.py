"""Time and peak memory of a piece of work, in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

BY_PROCESSOR_TIME = "BENCHMARKS_BY_PROCESSOR_TIME"
"""In the environment: one run of each, on one thread, in seconds of the processor, which other work hardly moves."""

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Arm:
    """One way to do a piece of work.

    seconds: the best of its runs. peak: bytes of memory beyond the loaded model. block_tokens: tokens that the model's
    blocks compute for it, by count. operations: of the matrix products, by count. rate: of a plain matrix product of
    the model's shape, in the same process. scale: by how much the time is multiplied where only a sample was run.
    parts: by kind of work, its share of the time, where that was looked at.
    """

    seconds: float
    peak: int
    outputs: Outputs
    block_tokens: int = 0
    operations: float = 0.0
    rate: float = 0.0
    scale: float = 1.0
    parts: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Of the rate of a plain matrix product; 0 where that was not measured."""
        return self.operations / self.seconds / self.rate if self.rate else 0.0


def in_child(work: Callable[..., Any], *args: Any) -> Any:
    """The result of a function that runs in a forked process, so that its memory is its own. Raises what it raised."""
    return _started(work, *args)()


def share_in_lanes(engine: Callable[..., Arm], *args: Any) -> float:
    """Of the rate of a plain matrix product, where every core has a process of one thread and all do the same at once.

    That is how the lanes of `make reproduce` share a machine. The mean over the processes.
    """

    def on_one_thread() -> float:
        global _profiling
        _profiling = False  # of this process, which ends with it
        torch.set_num_threads(1)
        return engine(*args).share

    lanes = [_started(on_one_thread) for _ in range(os.cpu_count() or 1)]
    return fmean(lane() for lane in lanes)


def _started(work: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Has a function run in a forked process, and gives what waits for its result, or raises what it raised."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def run() -> None:
        try:
            sender.send((work(*args), None))
        except BaseException:
            sender.send((None, traceback.format_exc()))

    child = context.Process(target=run)
    child.start()
    sender.close()

    def finished() -> Any:
        result, failure = receiver.recv()
        child.join()
        if failure:
            raise RuntimeError(f"a benchmark failed:\n{failure}")
        return result

    return finished


def timed(run: Callable[[], Outputs], *, at_most: int = 5, budget: float = 10.0) -> tuple[float, int, Outputs]:
    """The best time of a few runs, peak memory beyond what was taken before, and the outputs of the last run.

    A first run that is not counted warms up what is cheap to repeat.
    """
    cuda = torch.cuda.is_available()
    clock = time.perf_counter
    if os.environ.get(BY_PROCESSOR_TIME):
        torch.set_num_threads(1)  # threads that wait for each other would count
        clock, at_most = time.process_time, 0
    before = _reset_peak(cuda)
    begun, times = time.perf_counter(), []
    outputs: Outputs = {}
    while not times or (len(times) < at_most + 1 and time.perf_counter() - begun < budget):
        start = clock()
        outputs = run()
        if cuda:
            torch.cuda.synchronize()
        times.append(clock() - start)
    return min(times), _peak(cuda) - before, outputs


_profiling = True

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::linear", "aten::matmul")


def parts_of(run: Callable[[], Outputs]) -> dict[str, float]:
    """By kind of work, its share of the time of a run on a CPU, by torch's profiler.

    Attention is a softmax beside its products, for which there is no rate of a plain one; of tensors: norms, rotary
    embeddings, activations, copies; besides: tokenizing, planning, tables, and what Python takes to call all of it.
    Nothing in lanes, where only the time is asked for.
    """
    if not _profiling:
        return {}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        begun = time.perf_counter()
        run()
        whole = time.perf_counter() - begun
    seconds = {"matrix products": 0.0, "attention": 0.0, "other work on tensors": 0.0}
    for event in profiler.key_averages():
        if event.key.startswith("aten::"):
            kind = "attention" if "attention" in event.key else "other work on tensors"
            seconds["matrix products" if event.key in PRODUCTS else kind] += event.self_cpu_time_total / 1e6
    shares = {kind: spent / whole for kind, spent in seconds.items()}
    return shares | {"besides": 1 - sum(shares.values())}


def _reset_peak(cuda: bool) -> int:
    """Begin to watch the peak of memory; returns what is taken now."""
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the high-water mark begins anew
    return int(psutil.Process().memory_info().rss)


def _peak(cuda: bool) -> int:
    if cuda:
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def largest_difference(ours: Outputs, theirs: Outputs) -> float:
    """Over all outputs. Raises ValueError where they are not the same arrays."""
    if ours.keys() != theirs.keys():
        raise ValueError(f"outputs {sorted(ours)} beside {sorted(theirs)}")
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)
