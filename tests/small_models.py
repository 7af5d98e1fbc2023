"""Small random models of several families, saved to disk with their tokenizers as the hub lays them out."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from introspection.model.language_model import LanguageModel
from introspection.model.loading import load_model
from introspection.settings import ModelSettings
from introspection.stimuli.prompts import Stimuli

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# No system role, and a beginning-of-text token, as Gemma's.
NO_SYSTEM = (
    "{{ '<|begin|>' }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}{{ '<|im_start|>' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n'"
    " + m['content'] | trim + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>model\\n' }}{% endif %}"
)
# Headers of two tokens and trimmed content, as Llama 3's.
HEADERS = (
    "{{ '<|begin|>' }}{% for m in messages %}{{ '<|im_start|>' + m['role'] + '<|im_end|>\\n\\n' + m['content'] | trim"
    " + '<|eot|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_end|>\\n\\n' }}{% endif %}"
)

_SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "max_position_embeddings": 4096,
    "initializer_range": 0.15,
}
_GROUPED = {"num_key_value_heads": 2}
CONFIGS = {
    "qwen2": (Qwen2Config(**_SHAPE, **_GROUPED), CHATML),
    "llama": (LlamaConfig(**_SHAPE, **_GROUPED), HEADERS),
    "gemma": (GemmaConfig(**_SHAPE, **_GROUPED, head_dim=8), NO_SYSTEM),
    "gemma2": (Gemma2Config(**_SHAPE, **_GROUPED, head_dim=8, sliding_window=96, query_pre_attn_scalar=8), NO_SYSTEM),
    "mistral": (MistralConfig(**_SHAPE, **_GROUPED, sliding_window=64), CHATML),
    "phi3": (Phi3Config(**_SHAPE, **_GROUPED, pad_token_id=0), CHATML),
    "gpt_neox": (GPTNeoXConfig(**_SHAPE), CHATML),
    "gpt2": (GPT2Config(n_embd=32, n_layer=5, n_head=4, n_positions=4096, initializer_range=0.15), CHATML),
}


def train_tokenizer(stimuli: Stimuli) -> Tokenizer:
    """Of some thousand tokens, that has the study's answers as tokens of their own."""
    texts = [turn.content for conversation in stimuli.detection.values() for turn in conversation]
    texts += [stimuli.control_template.replace("$QUESTION", q.question) for q in stimuli.controls]
    texts += ["cat cat bread bread yes yes no no Yes Yes", "yes", "Yes", "no", "cat", "bread", "love", "fear"] * 8
    texts += [f"{each.yes}{each.no}" for each in stimuli.battery().formats.values()] * 8
    texts += [f" {letter}" for letter in stimuli.where().letters] * 8
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin|>", "<|eot|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=1200, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    return bpe


def save_model(
    folder: Path, family: str, tokenizer: Tokenizer, seed: int = 0, shard: str = "5GB", **changes: int
) -> Path:
    """A random model of a family, with a tokenizer and the family's kind of chat template, in the hub's layout."""
    config, template = CONFIGS[family]
    tokens = {"vocab_size": tokenizer.get_vocab_size(), "bos_token_id": 3, "eos_token_id": 2, "pad_token_id": 0}
    config = type(config)(**config.to_dict() | tokens | changes)
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder, max_shard_size=shard)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = template
    fast.save_pretrained(folder)
    return folder


def load(folder: Path) -> LanguageModel:
    return load_model(
        ModelSettings(source=str(folder), dtype="float32", layers=(1, 2), strength=1.0, filler="original")
    )
