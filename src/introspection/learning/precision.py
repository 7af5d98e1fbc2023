"""In which numbers trainings multiply matrices."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

import torch


def fast_products() -> AbstractContextManager[None]:
    """bfloat16 where the processor multiplies it itself; where it does not, that takes ten times as long as float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=_multiplies_bfloat16())


@cache
def _multiplies_bfloat16() -> bool:
    return any(there for name, there in torch.cpu.get_capabilities().items() if "bf16" in name)
