"""Small models of several families as GGUF files, written as llama.cpp's converters write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import dequantize, quantize
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, Qwen2Config

from introspection.stimuli.prompts import Stimuli
from tests.small_models import CHATML, HEADERS

BLOCKS = 3
Quantisation = gguf.GGMLQuantizationType
_SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.15,
    "rms_norm_eps": 1e-5,
}
# Gemma 2's scale of attention is that of heads of 256 whatever their size is; it is in no GGUF file.
CONFIGS = {
    "llama": lambda size: LlamaConfig(**_SHAPE, vocab_size=size, tie_word_embeddings=False),
    "qwen2": lambda size: Qwen2Config(**_SHAPE, vocab_size=size, tie_word_embeddings=True),
    "gemma2": lambda size: Gemma2Config(**_SHAPE, vocab_size=size, head_dim=256, sliding_window=96),
}
GEMMA_TEMPLATE = (
    "{{ '<bos>' }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n'"
    " + m['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says of a tokenizer, and the template."""

    model: str
    tokens: list[str]
    types: list[int]
    special: dict[str, int]
    template: str
    pre: str | None = None
    merges: list[str] | None = None
    scores: list[float] | None = None


def byte_level(tokenizer: Tokenizer, pre: str, template: str) -> Vocabulary:
    """The tests' tokenizer, whose special tokens come first."""
    values = tokenizer.get_vocab()
    tokens = sorted(values, key=values.__getitem__)
    merges = [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    control = set(tokenizer.get_added_tokens_decoder())
    types = [3 if number in control else 1 for number in range(len(tokens))]
    special = {"bos": values["<|begin|>"], "eos": values["<|im_end|>"], "pad": values["<|endoftext|>"]}
    return Vocabulary("gpt2", tokens, types, special, template, pre, merges)


def sentencepiece(stimuli: Stimuli) -> Vocabulary:
    """Of Gemma's kind: words with their beginnings, every byte, and characters, the best first."""
    words = " ".join(turn.content for turns in stimuli.detection.values() for turn in turns).split()
    pieces: dict[str, None] = {}
    for word in ("yes", "no", "Yes", "cat", "bread", *words[:150]):
        marked = "\u2581" + word
        pieces |= dict.fromkeys(marked[:end] for end in range(2, len(marked) + 1))
    characters = dict.fromkeys("".join(pieces) + "".join(words) + "\n\u2581")
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    types = [3, 3, 3, 2, 3, 3]
    tokens += [f"<0x{byte:02X}>" for byte in range(256)]
    types += [6] * 256
    ordinary = [*sorted(pieces, key=len), *characters]
    tokens += ordinary
    types += [1] * len(ordinary)
    scores = [-float(number) for number in range(len(tokens))]
    special = {"bos": 2, "eos": 1, "pad": 0, "unk": 3}
    return Vocabulary("llama", tokens, types, special, GEMMA_TEMPLATE, scores=scores)


def vocabulary(family: str, tokenizer: Tokenizer, stimuli: Stimuli) -> Vocabulary:
    if family == "gemma2":
        return sentencepiece(stimuli)
    return byte_level(tokenizer, *{"llama": ("gpt-2", HEADERS), "qwen2": ("qwen2", CHATML)}[family])


def random_model(family: str, size: int, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[family](size), dtype=torch.float32).eval()
    with torch.no_grad():
        for weight in model.parameters():  # norms and biases begin as ones and zeros, which hides errors
            if weight.dim() == 1:
                weight += 0.1 * torch.randn_like(weight)
    return model


def write_gguf(
    path: Path,
    family: str,
    model: Any,
    words: Vocabulary,
    types: Mapping[str, Quantisation] | None = None,
    **metadata: Any,
) -> Path:
    """Write a model's weights; those of two dimensions whose name holds a key of `types` are quantised.

    The model's own weights become what the quantised ones stand for. metadata: more keys, dots as `__`.
    """
    config = model.config
    writer = gguf.GGUFWriter(path, family)
    writer.add_name("a small model")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if not types else gguf.LlamaFileType.MOSTLY_Q4_1)
    if family == "gemma2":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        writer.add_sliding_window(config.sliding_window)
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    else:
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    _add_vocabulary(writer, words)
    for key, value in metadata.items():
        writer.add_string(key.replace("__", "."), value)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, family.upper()), config.num_hidden_layers)
    for name, weight in model.named_parameters():
        stem, suffix = name.rsplit(".", 1)
        found = names.get_name(stem)
        assert found is not None, name
        kind = next((kind for part, kind in (types or {}).items() if part in name and weight.dim() == 2), None)
        _add_tensor(writer, f"{found}.{suffix}", family, config, weight, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: Any, words: Vocabulary) -> None:
    writer.add_tokenizer_model(words.model)
    if words.pre is not None:
        writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    if words.merges is not None:
        writer.add_token_merges(words.merges)
    if words.scores is not None:
        writer.add_token_scores(words.scores)
        writer.add_add_space_prefix(False)
    writer.add_bos_token_id(words.special["bos"])
    writer.add_eos_token_id(words.special["eos"])
    writer.add_pad_token_id(words.special["pad"])
    if "unk" in words.special:
        writer.add_unk_token_id(words.special["unk"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(words.template)


def _add_tensor(
    writer: Any, name: str, family: str, config: Any, weight: torch.Tensor, kind: Quantisation | None
) -> None:
    if kind is not None:
        stored = quantize(weight.detach().numpy(), kind)
        with torch.no_grad():
            weight.copy_(torch.from_numpy(dequantize(stored, kind)))
    values = weight.detach().numpy().copy()
    if family == "llama" and (".attn_q." in name or ".attn_k." in name):  # llama.cpp pairs neighbours in rotary heads
        heads = config.num_attention_heads if ".attn_q." in name else config.num_key_value_heads
        values = values.reshape(heads, 2, values.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(values.shape)
    if family == "gemma2" and "norm" in name:
        values = values + np.float32(1)
    if kind is None:
        writer.add_tensor(name, values)
    else:
        writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)  # by rows, which pairing only reorders
