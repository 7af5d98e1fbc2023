"""The learning rate over a training."""

from __future__ import annotations

import math


def share_of_rate(step: int, steps: int, warmup: int, floor: float) -> float:
    """The share of the full learning rate at a step: a linear warmup, then a cosine decay to the share `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) / 2 * (1 + math.cos(math.pi * progress))
