"""How many tokens a model reads together."""

from __future__ import annotations

from typing import Any

import torch

from introspection.model.language_model import LanguageModel

TOKENS_PER_BATCH = 65536
"""How many tokens go through a model together where no accelerator's memory sets the limit."""

SLICE, SLICE_ON_GPU = 1024, 32768

_STREAMS = 2
"""How often the residual stream is there at the most: the model holds what it began with while the slots split."""


def slice_tokens(on_gpu: bool) -> int:
    """How many tokens of a batch a block computes at a time."""
    return SLICE_ON_GPU if on_gpu else SLICE


def tokens_that_fit(model: LanguageModel) -> int:
    """How many tokens to read at once: what the accelerator's free memory holds, a fixed number without one."""
    if model.device.type != "cuda":
        return TOKENS_PER_BATCH
    free, _ = torch.cuda.mem_get_info(model.device)
    unused = torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    return tokens_in(free + unused, model.text_config, model.model.dtype)


def tokens_in(free: int, config: Any, dtype: torch.dtype) -> int:
    """How many tokens a GPU with so many bytes free of the model's weights reads at once; one at the least."""
    whole = batch_bytes(1, config, dtype)  # of a token that is in a slice
    held = _STREAMS * int(config.hidden_size) * dtype.itemsize
    in_slice = int(0.8 * free / whole)
    if in_slice < SLICE_ON_GPU:
        return max(1, in_slice)
    return SLICE_ON_GPU + int((0.8 * free - SLICE_ON_GPU * whole) / held)


def batch_bytes(tokens: int, config: Any, dtype: torch.dtype) -> int:
    """The memory of a batch, an upper estimate: the residual stream of all tokens, and what a block needs for a slice.

    The norms work in float32.
    """
    hidden = int(config.hidden_size)
    intermediate = int(getattr(config, "intermediate_size", None) or 4 * hidden)
    of_slice = dtype.itemsize * (4 * intermediate + 8 * hidden) + 4 * 3 * hidden
    return _STREAMS * tokens * hidden * dtype.itemsize + min(tokens, slice_tokens(torch.cuda.is_available())) * of_slice


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out: on a GPU, in its libraries, or in the host."""
    said = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in said or "ALLOC_FAILED" in said
    )
