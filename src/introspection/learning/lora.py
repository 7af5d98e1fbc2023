"""Low-rank maps (LoRA) beside some maps of a model, to be trained in their place.

PEFT is imported where it is used: it takes seconds, and most of what is trained is trained whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from introspection.settings.adapters import LoraSettings
from introspection.sources.errors import AdapterError

if TYPE_CHECKING:
    from peft import LoraConfig


def add_lora(model: Any, settings: LoraSettings, where: str, base: Path) -> LoraConfig:
    """Put low-rank maps beside those that they change; they alone are trained, and change nothing yet.

    where: the key of the settings in params.yaml. base: the folder that the model was loaded from.
    Raises AdapterError where the model lacks the blocks or the maps.
    """
    from peft import LoraConfig, inject_adapter_in_model

    first, last = settings.blocks
    blocks = model.config.get_text_config().num_hidden_layers
    if last >= blocks:
        raise AdapterError(
            f"{where}.blocks: found [{first}, {last}]; allowed: 0 <= first <= last <= {blocks - 1}, since "
            f"{base} has {blocks} blocks"
        )
    names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    lacking = [target for target in settings.target_modules if target not in names]
    if lacking:
        raise AdapterError(
            f"{base}: has no map {lacking[0]!r} for an adapter; its modules are {', '.join(sorted(names))}"
        )
    config = LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=base.as_posix(),
        r=settings.rank,
        lora_alpha=settings.scale,
        target_modules=list(settings.target_modules),
        layers_to_transform=list(range(first, last + 1)),
        inference_mode=True,
    )
    inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return config


def lora_weights(model: Any) -> dict[str, Tensor]:
    """The low-rank maps of a model by name, in bfloat16, as they are saved."""
    from peft import get_peft_model_state_dict

    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: value.to(torch.bfloat16) for name, value in weights.items()}
