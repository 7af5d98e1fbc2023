"""What there is to run on: free memory and disk, and how fast a plain matrix product is."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor


@dataclass(frozen=True)
class Machine:
    """Free memory in bytes, rates per second.

    accelerators: the free memory of each GPU. flops: of a plain matrix product, by dtype. memory_rate: bytes that the
    memory of the device (the first GPU, or the host) copies; host_rate: bytes that come to it from host memory.
    """

    accelerators: tuple[int, ...]
    accelerator_name: str
    memory: int
    disk: int
    flops: Mapping[str, float]
    memory_rate: float
    host_rate: float


def measure_machine(dtypes: Sequence[str], folder: Path = Path()) -> Machine:
    """Look at memory and at the disk of a folder, and time a matrix product in each dtype, in about a second."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    of_host = torch.zeros(2**26, dtype=torch.uint8)
    chunk = of_host.to(device)
    copied = rate(lambda: chunk.clone(), device, chunk.nbytes)
    return Machine(
        accelerators=tuple(torch.cuda.mem_get_info(n)[0] for n in range(torch.cuda.device_count())) if cuda else (),
        accelerator_name=torch.cuda.get_device_name() if cuda else "",
        memory=psutil.virtual_memory().available,
        disk=shutil.disk_usage(folder).free,
        flops={dtype: matrix_product_rate(getattr(torch, dtype), device) for dtype in dict.fromkeys(dtypes)},
        memory_rate=copied,
        host_rate=rate(lambda: of_host.to(device), device, chunk.nbytes) if cuda else copied,
    )


def matrix_product_rate(dtype: torch.dtype, device: torch.device, shape: tuple[int, int, int] | None = None) -> float:
    """Floating point operations a second of a plain matrix product, (rows, inner) by (inner, columns).

    It is what the rate of a model is held against. Without a shape: square, of a size that keeps the device busy.
    """
    width = 8192 if device.type == "cuda" else 1024
    rows, inner, columns = shape or (width, width, width)
    left = torch.ones(rows, inner, dtype=dtype, device=device)
    right = torch.ones(inner, columns, dtype=dtype, device=device)
    return rate(lambda: left @ right, device, 2 * rows * inner * columns)


def rate(run: Callable[[], Tensor], device: torch.device, amount: float, seconds: float = 0.2) -> float:
    """How much of something is done in a second: the best of as many runs as fit in some seconds, after a first."""

    def once() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    once()
    begun = time.perf_counter()
    times = [once()]
    while time.perf_counter() - begun < seconds:
        times.append(once())
    return amount / min(times)
