"""An adapter on a model's linear maps: put on beside their weights, taken off again, or merged into them.

PEFT is imported where an adapter is at hand: that takes seconds, and most models have none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from introspection.sources.adapters import read_adapter
from introspection.sources.errors import AdapterError


def put_on(model: Any, name: str, source: str, revision: str | None, check: Callable[[], None]) -> None:
    """Wrap a model's maps in place with an adapter from a folder or the hub, in their own dtype, and switched on.

    check: raises ValueError for an adapter that is not wanted once it is on.
    Raises AdapterError, the model unchanged, for an adapter that is missing, pickled or not LoRA, that changes whole
    weights besides, or that does not fit the model.
    """
    from peft import inject_adapter_in_model, set_peft_model_state_dict

    config, weights = read_adapter(source, revision)
    if config.modules_to_save or config.trainable_token_indices or config.bias != "none":
        raise AdapterError(
            f"{source}: changes whole weights besides its low-rank maps; merge it into the model, save that, and give "
            "the folder as `source` instead"
        )
    try:
        inject_adapter_in_model(config, model)
        found = set_peft_model_state_dict(model, weights)
        missing = [each for each in found.missing_keys if "lora_" in each]
        if missing or found.unexpected_keys:
            raise ValueError(f"no match for {[*missing, *found.unexpected_keys][0]}")
        check()
    except Exception as error:  # PEFT and torch each have their own
        take_off(model)
        reason = " ".join(str(error).split())[:300]
        raise AdapterError(
            f"{source}: does not fit {name}; give the adapter of this very model (adapter_config.json names the "
            f"one that it was trained on: {config.base_model_name_or_path}) ({reason})"
        ) from error


def take_off(model: Any) -> None:
    """The model's own maps are in their places as before. Without an adapter, nothing happens."""
    for name, layer in wrapped(model).items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    vars(model).pop("peft_config", None)


def merge(model: Any, name: str, source: str) -> None:
    """Add an adapter to a model's weights, in their dtype; the model is a plain one afterwards. Raises as `put_on`."""

    def in_memory() -> None:
        for each, layer in wrapped(model).items():
            if any(parameter.device == torch.device("meta") for parameter in layer.parameters()):
                raise ValueError(f"the weights of {each} lie on disk; give the model more memory (max_memory)")

    put_on(model, name, source, None, in_memory)
    for layer in wrapped(model).values():
        layer.merge()
    take_off(model)


def wrapped(model: Any) -> dict[str, Any]:
    """The maps that an adapter is on, by their names."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}
