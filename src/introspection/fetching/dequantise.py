"""A GGUF file's weights as a folder of safetensors, from which they load like any other model's."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from introspection.sources.gguf import check_all_was_read, explained_gguf, unpacked

# What a block of Q4_1 stands for is d * q + m with d and m in float16: neither half of the 16-bit types holds it
# exactly (of SmolLM2's 135 million values float16 changes 78 million and bfloat16 134 million), so float32 is saved.
SAVED_DTYPE = torch.float32


def dequantise(path: Path, folder: Path, way_out: str = "models.KEY.source") -> None:
    """Save the model and the tokenizer of a GGUF file to `folder`.

    way_out: the key in `params.yaml` that takes a folder instead, for the message. Raises SourceError for an
    architecture or a quantisation that transformers cannot read, and where it would pass over some of the weights.
    """
    arguments: dict[str, Any] = {
        "pretrained_model_name_or_path": str(path.parent),
        "gguf_file": path.name,
        "trust_remote_code": False,
    }
    with explained_gguf(path, way_out):
        model = AutoModelForCausalLM.from_pretrained(
            **arguments, dtype=SAVED_DTYPE, quantization_config=unpacked(str(path), None)
        )
        check_all_was_read(path, model)
        tokenizer = AutoTokenizer.from_pretrained(**arguments)
        plain = _without_quantisation(model)
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _without_quantisation(model: Any) -> Any:
    """The same weights in a model that was never quantised, since a quantised one refuses to be saved."""
    config = copy.deepcopy(model.config)
    for attribute in ("quantization_config", "_model_name_or_path"):
        if hasattr(config, attribute):
            delattr(config, attribute)
    with torch.device("meta"):  # the weights are there already: they need no second place
        plain = AutoModelForCausalLM.from_config(config, dtype=SAVED_DTYPE)
    plain.load_state_dict(model.state_dict(), strict=True, assign=True)
    plain.tie_weights()
    plain.generation_config = model.generation_config
    return plain
