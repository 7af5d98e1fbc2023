"""A finetune that is an adapter: put beside the model's weights, never merged into them, and switched on and off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer

from introspection.adapters.files import AdapterError, read_adapter
from introspection.model.language_model import LanguageModel


def attach_adapter(model: LanguageModel, source: str, revision: str | None = None) -> None:
    """Load an adapter from a folder or the hub into the model, switched off: the model computes what it did before.

    The model's class and its parts stay where they are; its linear maps are wrapped in place, in their own dtype.
    Raises AdapterError, the model unchanged, for an adapter that is missing, pickled or not LoRA, that does not fit the
    model, or that changes something besides the decoder blocks; and where the model has an adapter already.
    """
    if _layers(model):
        raise AdapterError(f"{model.name}: has an adapter already; detach it before {source} is attached")
    config, weights = read_adapter(source, revision)
    if config.modules_to_save or config.trainable_token_indices or config.bias != "none":
        raise AdapterError(
            f"{source}: changes whole weights besides its low-rank maps; merge it into the model, save that, and give "
            "the folder as `source` instead"
        )
    try:
        inject_adapter_in_model(config, model.model)
        found = set_peft_model_state_dict(model.model, weights)
        missing = [name for name in found.missing_keys if "lora_" in name]
        if missing or found.unexpected_keys:
            raise ValueError(f"no match for {[*missing, *found.unexpected_keys][0]}")
        _check(model)
    except Exception as error:  # PEFT and torch each have their own
        detach_adapter(model)
        reason = " ".join(str(error).split())[:300]
        raise AdapterError(
            f"{source}: does not fit {model.name}; give the adapter of this very model (adapter_config.json names the "
            f"one that it was trained on: {config.base_model_name_or_path}) ({reason})"
        ) from error
    _switch(model, False)


def detach_adapter(model: LanguageModel) -> None:
    """Take the adapter out again: the model's own maps are in their places as before. Without one, nothing happens."""
    for name, layer in _layers(model).items():
        parent, _, child = name.rpartition(".")
        setattr(model.model.get_submodule(parent), child, layer.get_base_layer())
    vars(model.model).pop("peft_config", None)


@contextmanager
def adapted(model: LanguageModel, on: bool = True) -> Iterator[LanguageModel]:
    """The model with its adapter on (or off) inside the context; afterwards as before, after an exception too.

    Caches and states that were computed inside remain what they are: a turn read by the finetune can be read on by the
    model. Raises AdapterError for a model without an adapter, and for one into which it has been merged.
    """
    if not _layers(model):
        raise AdapterError(f"{model.name}: has no adapter to switch; attach one first")
    before = is_adapted(model)
    _switch(model, on)
    try:
        yield model
    finally:
        _switch(model, before)


def is_adapted(model: LanguageModel) -> bool:
    """Whether the model has an adapter that is on."""
    return any(not layer.disable_adapters for layer in _layers(model).values())


def _layers(model: LanguageModel) -> dict[str, Any]:
    """The wrapped maps by their names."""
    return {name: module for name, module in model.model.named_modules() if isinstance(module, BaseTunerLayer)}


def _switch(model: LanguageModel, on: bool) -> None:
    for name, layer in _layers(model).items():
        if layer.merged:  # then "off" would not be the model's own weights
            raise AdapterError(f"{model.name}: its adapter has been merged into {name}; load the model anew")
        layer.enable_adapters(on)
        layer.requires_grad_(False)  # PEFT has an adapter that is on learn


def _check(model: LanguageModel) -> None:
    """Raise ValueError for an adapter outside the decoder blocks, or one whose weights have no memory."""
    inside = {id(module) for module in model.blocks.modules()}
    for name, layer in _layers(model).items():
        if id(layer) not in inside:
            raise ValueError(
                f"it changes {name}, outside the decoder blocks, which the readout takes from the model alone"
            )
        if any(parameter.device == torch.device("meta") for parameter in layer.parameters()):
            raise ValueError(f"the weights of {name} lie on disk; give the model more memory (max_memory)")
