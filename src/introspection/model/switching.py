"""A finetune that is an adapter: put beside the model's weights, never merged into them, and switched on and off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from introspection.model.adapter import put_on, take_off, wrapped
from introspection.model.language_model import AdapterSource, LanguageModel
from introspection.sources.errors import AdapterError


def attach_adapter(model: LanguageModel, source: str, revision: str | None = None) -> None:
    """Load an adapter from a folder or the hub into the model, switched off: the model computes what it did before.

    The model's class and its parts stay where they are; its linear maps are wrapped in place, in their own dtype.
    Raises AdapterError, the model unchanged, for an adapter that is missing, pickled or not LoRA, that does not fit the
    model, or that changes something besides the decoder blocks; and where the model has an adapter already.
    """
    if wrapped(model.model):
        raise AdapterError(f"{model.name}: has an adapter already; detach it before {source} is attached")
    put_on(model.model, model.name, source, revision, lambda: _check(model))
    model.attached = AdapterSource(source, revision)
    switch_adapter(model, False)


def detach_adapter(model: LanguageModel) -> None:
    """Take the adapter out again: the model's own maps are in their places as before. Without one, nothing happens."""
    take_off(model.model)
    model.attached, model.adapted = None, False


@contextmanager
def adapted(model: LanguageModel, on: bool = True) -> Iterator[LanguageModel]:
    """The model with its adapter on (or off) inside the context; afterwards as before, after an exception too.

    Caches and states that were computed inside remain what they are: a turn read by the finetune can be read on by the
    model. Raises AdapterError for a model without an adapter, and for one into which it has been merged.
    """
    if not wrapped(model.model):
        raise AdapterError(f"{model.name}: has no adapter to switch; attach one first")
    before = is_adapted(model)
    switch_adapter(model, on)
    try:
        yield model
    finally:
        switch_adapter(model, before)


def is_adapted(model: LanguageModel) -> bool:
    """Whether the model has an adapter that is on."""
    return any(not layer.disable_adapters for layer in wrapped(model.model).values())


def switch_adapter(model: LanguageModel, on: bool) -> None:
    """Let a model's adapter take part in what it computes, or not. Raises AdapterError where it has been merged."""
    for name, layer in wrapped(model.model).items():
        if layer.merged:  # then "off" would not be the model's own weights
            raise AdapterError(f"{model.name}: its adapter has been merged into {name}; load the model anew")
        layer.enable_adapters(on)
        layer.requires_grad_(False)  # PEFT has an adapter that is on learn
    model.adapted = on


def _check(model: LanguageModel) -> None:
    """Raise ValueError for an adapter outside the decoder blocks, or one whose weights have no memory."""
    inside = {id(module) for module in model.blocks.modules()}
    for name, layer in wrapped(model.model).items():
        if id(layer) not in inside:
            raise ValueError(
                f"it changes {name}, outside the decoder blocks, which the readout takes from the model alone"
            )
        if any(parameter.device == torch.device("meta") for parameter in layer.parameters()):
            raise ValueError(f"the weights of {name} lie on disk; give the model more memory (max_memory)")
