"""How many tokens are read together: by arithmetic on a model's sizes, done here by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from introspection.engine.memory import (
    SLICE,
    SLICE_ON_GPU,
    TOKENS_PER_BATCH,
    batch_bytes,
    is_out_of_memory,
    slice_tokens,
    tokens_in,
    tokens_that_fit,
)

SIZES = SimpleNamespace(hidden_size=1000, intermediate_size=3000)
STREAM = 2 * 1000 * 2  # bytes of a token in float16: the residual stream twice
IN_SLICE = (
    2 * (4 * 3000 + 8 * 1000) + 4 * 3 * 1000
)  # four maps of the feed-forward, eight of the rest, norms in float32


@pytest.mark.parametrize("tokens", [1, 7, SLICE, SLICE + 1, 100_000])
def test_a_batch_takes_the_stream_of_all_tokens_and_the_work_on_a_slice(tokens: int) -> None:
    assert batch_bytes(tokens, SIZES, torch.float16) == STREAM * tokens + IN_SLICE * min(tokens, SLICE)
    twice = STREAM * tokens * 2 + (2 * (IN_SLICE - 12_000) + 12_000) * min(tokens, SLICE)
    assert batch_bytes(tokens, SIZES, torch.float32) == twice


def test_a_model_that_does_not_name_its_feed_forward_has_four_times_the_stream() -> None:
    named, unnamed = SimpleNamespace(hidden_size=8, intermediate_size=32), SimpleNamespace(hidden_size=8)
    assert batch_bytes(5, named, torch.float32) == batch_bytes(5, unnamed, torch.float32)


@pytest.mark.parametrize("tokens", [1, 2, 1000, SLICE_ON_GPU - 1, SLICE_ON_GPU, SLICE_ON_GPU + 1, 3 * SLICE_ON_GPU])
def test_as_many_tokens_are_read_as_fit_into_four_fifths_of_what_is_free(tokens: int) -> None:
    taken = STREAM * tokens + IN_SLICE * min(tokens, SLICE_ON_GPU)
    free = taken * 5 // 4
    assert tokens_in(free + 10, SIZES, torch.float16) == tokens
    assert tokens_in(free - 10, SIZES, torch.float16) == max(1, tokens - 1)


def test_at_least_one_token_is_read() -> None:
    assert tokens_in(0, SIZES, torch.float16) == 1


def test_a_gpu_reads_what_its_free_memory_holds_and_another_machine_a_fixed_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Free is what the driver has not given out, and what torch holds of it and does not use."""
    device = SimpleNamespace(type="cuda")  # of several, the one that the model is on
    known = {"mem_get_info": (100_000_000, 900_000_000), "memory_reserved": 50_000_000, "memory_allocated": 20_000_000}
    for name, value in known.items():
        monkeypatch.setattr(torch.cuda, name, lambda asked, value=value: value if asked is device else None)
    model = SimpleNamespace(device=device, text_config=SIZES, model=SimpleNamespace(dtype=torch.float16))
    assert tokens_that_fit(model) == tokens_in(130_000_000, SIZES, torch.float16) > 1
    model.device.type = "cpu"
    assert tokens_that_fit(model) == TOKENS_PER_BATCH
    assert (slice_tokens(True), slice_tokens(False)) == (SLICE_ON_GPU, SLICE)


def test_which_errors_say_that_memory_ran_out() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert not is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
