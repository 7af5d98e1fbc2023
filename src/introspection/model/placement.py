"""Where a model's weights lie: how much memory they take, what each device may hold, and how they come to a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import torch
from accelerate.utils import align_module_device
from torch import nn
from transformers import AutoModelForCausalLM

from introspection.model.hooks import replaced_forward
from introspection.settings import ModelSettings


def without_weights(config: Any) -> Any:
    """A model of a configuration whose tensors have shapes and no memory."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def weight_bytes(model: Any, settings: ModelSettings) -> int:
    """The memory of a model's weights as they are loaded; quantized ones count with their linear maps packed."""
    whole: int = sum(weight.numel() for weight in model.parameters())
    itemsize = int(getattr(torch, settings.dtype).itemsize)
    if settings.quantization is None:
        return whole * itemsize
    head = model.get_output_embeddings()  # what the library does not quantize
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear) and m is not head)
    bits = {"8bit": 8, "4bit": 4.5}[settings.quantization]  # with the scales of its groups of weights
    return int((whole - linear) * itemsize + linear * bits / 8)


def room_for_weights(weights: int, free: Sequence[int]) -> list[int]:
    """How much of each accelerator's free memory the weights may take, all in bytes.

    Where they leave a tenth free, they may lie anywhere. Where they do not fit, they are read from host memory or disk
    once per batch; then half the memory is kept for the batch, since a larger batch means fewer readings.
    """
    share = 0.9 if weights <= 0.9 * sum(free) else 0.5
    return [int(share * each) for each in free]


def device_map(settings: ModelSettings) -> str | None:
    """Where the weights go, as `from_pretrained` takes it: what the settings say, or else a GPU where there is one."""
    if settings.device_map or settings.max_memory:
        return settings.device_map or "auto"
    return "cuda" if torch.cuda.is_available() else None


def max_memory(settings: ModelSettings, config: Any) -> dict[Any, Any] | None:
    """How much of each memory the weights may take, by device, as `from_pretrained` takes it; None sets no limit."""
    if settings.max_memory:
        return {**settings.max_memory}
    if device_map(settings) != "auto" or not torch.cuda.is_available():
        return None
    free = [torch.cuda.mem_get_info(device)[0] for device in range(torch.cuda.device_count())]
    room = room_for_weights(weight_bytes(without_weights(config), settings), free)
    return {**dict(enumerate(room)), "cpu": int(0.9 * psutil.virtual_memory().available)}


@contextmanager
def weights_in_place(block: nn.Module) -> Iterator[None]:
    """Bring a block's weights that lie in host memory or on disk, once for all that is computed inside the context.

    accelerate's hooks bring them for every call of a module; meanwhile they are set aside.
    """
    with ExitStack() as stack:
        for module in block.modules():
            if getattr(getattr(module, "_hf_hook", None), "offload", False):
                stack.enter_context(align_module_device(module))
                stack.enter_context(replaced_forward(module, vars(module)["_old_forward"]))
        yield
