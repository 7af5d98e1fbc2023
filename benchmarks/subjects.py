"""The models that are measured: the committed organism, and random ones of a given shape."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from introspection.model.language_model import LanguageModel
from introspection.model.loading import load_config, load_model, load_tokenizer
from introspection.model.placement import without_weights
from introspection.planning.machine import matrix_product_rate
from introspection.planning.plan import Shape, shape_of
from introspection.settings import ModelSettings, load_settings
from introspection.sources.datasets import read_suffixes
from introspection.stimuli.prompts import Stimuli, load_stimuli

ROOT = Path(__file__).resolve().parent.parent
ORGANISM = "organism"
TITLES = {ORGANISM: "the organism", "smollm2-135m": "SmolLM2"}
"""What models are called in the tables."""


def settings_of(key: str) -> ModelSettings:
    """A model's settings in params.yaml, its folder as a whole path."""
    own = load_settings(ROOT / "params.yaml").models[key]
    return own.model_copy(update={"source": str(ROOT / own.source)})


def organism(key: str = ORGANISM) -> LanguageModel:
    """A model organism of this repository."""
    return load_model(settings_of(key))


def organism_without_weights() -> LanguageModel:
    """The organism's shape and tokenizer, to count with."""
    own = settings_of(ORGANISM)
    return LanguageModel(without_weights(load_config(own)), load_tokenizer(own))


def random_model(blocks: int, width: int, seed: int = 0) -> LanguageModel:
    """A random model of the Qwen2 family with the organism's tokenizer: heads of 64, perceptrons 2.75 times as wide."""
    tokenizer = load_tokenizer(settings_of(ORGANISM))
    config = Qwen2Config(
        hidden_size=width,
        intermediate_size=int(2.75 * width),
        num_hidden_layers=blocks,
        num_attention_heads=max(1, width // 64),
        num_key_value_heads=max(1, width // 64),
        vocab_size=len(tokenizer),
        max_position_embeddings=4096,
        initializer_range=0.5 / width**0.5,
    )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    model.requires_grad_(False)
    return LanguageModel(model, tokenizer)


def stimuli() -> Stimuli:
    """The prompts of the repository."""
    return load_stimuli(ROOT / "data" / "prompts")


def suffixes() -> list[str]:
    """The builtin suffixes."""
    return read_suffixes(ROOT / "data" / "builtin" / "suffixes.json")


def plan_shape(model: LanguageModel) -> Shape:
    """What the planner knows of a model that is in float32."""
    return shape_of(model, ModelSettings(source="-", dtype="float32", layers=(1, 1), strength=1.0, filler="original"))


def product_rate(model: LanguageModel) -> float:
    """Of a plain matrix product of the shape of the model's perceptron over a batch of tokens."""
    config = model.text_config
    shape = (4096, int(config.hidden_size), int(config.intermediate_size))
    return matrix_product_rate(model.model.dtype, model.device, shape)
