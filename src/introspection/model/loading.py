"""Load a model and its tokenizer from a folder or the hub, and say in one line why one cannot be loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from introspection.model.adapter import merge
from introspection.model.language_model import LanguageModel, ModelError
from introspection.model.placement import device_map, max_memory, without_weights
from introspection.settings import ModelSettings, check_layers
from introspection.sources.bases import base_of, is_folder, names_a_folder
from introspection.sources.errors import SourceError
from introspection.sources.gguf import ADVICE, check_all_was_read, gguf_path, located, pretrained, sha256_of, unpacked
from introspection.sources.provenance import Checksum, provenance
from introspection.sources.templates import ChatTemplateError
from introspection.sources.weights import check_every_tensor


def load_model(settings: ModelSettings) -> LanguageModel:
    """Load weights and tokenizer from a folder or the hub: safetensors or GGUF, no remote code.

    A folder with an adapter is the model that it changes with the adapter merged in, in float32 before the cast.
    The layer range is checked against the model's configuration before any weight is read.
    Raises ModelError for a model that is missing, gated or out of reach, SourceError for a GGUF file that cannot be
    read, AdapterError for an adapter that cannot be put on, SettingsError for a range outside it.
    """
    tokenizer = load_tokenizer(settings)
    base = base_of(settings.source)
    if base is None:
        model = _load_weights(settings)
    else:
        if settings.quantization is not None:
            raise ModelError(
                f"{settings.source}: an adapter cannot be merged into quantised weights; set quantization: null"
            )
        model = _load_weights(_whole(settings).model_copy(update={"dtype": "float32"}))
        merge(model, base, settings.source)
        for parameter in model.parameters():
            parameter.data = parameter.data.to(getattr(torch, settings.dtype))
        model.config._name_or_path = settings.source
    model.eval()
    model.requires_grad_(False)
    loaded = LanguageModel(model, tokenizer, settings)
    with _explained(settings.source):
        loaded.check_weights()
        loaded.check_vocabulary()
        loaded.check_unembedding()
    return loaded


def _load_weights(settings: ModelSettings) -> Any:
    config = load_config(settings)
    with _explained(settings.source):
        model, read = AutoModelForCausalLM.from_pretrained(
            **pretrained(settings.source, settings.revision),
            config=config,
            dtype=getattr(torch, settings.dtype),
            device_map=device_map(settings),
            max_memory=max_memory(settings, config),
            quantization_config=_quantization(settings),
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # told below, by name
            output_loading_info=True,
        )
    weights = gguf_path(settings.source, settings.revision)
    if weights is not None:
        check_all_was_read(weights, model)
    check_every_tensor(settings.source, read)
    return model


def _whole(settings: ModelSettings) -> ModelSettings:
    """The settings of the whole model: of the one that an adapter changes (`revision` is its), or these."""
    base = base_of(settings.source)
    return settings if base is None else settings.model_copy(update={"source": base})


@contextmanager
def resident(settings: ModelSettings) -> Iterator[LanguageModel]:
    """A model that is in memory only inside the context, so that another can take its place afterwards."""
    loaded = load_model(settings)
    try:
        yield loaded
    finally:
        loaded.release()


def load_tokenizer(settings: ModelSettings) -> Any:
    """The model's tokenizer. Raises ModelError where it is out of reach or has no chat template."""
    settings = _whole(settings)
    with _explained(settings.source):
        tokenizer = AutoTokenizer.from_pretrained(
            **pretrained(settings.source, settings.revision), trust_remote_code=False
        )
        tokens = tokenizer("yes", add_special_tokens=False)["input_ids"]
    if not tokens:
        raise ModelError(
            f"{settings.source}: its tokenizer makes no token of a word; its files were lost: save it anew"
        )
    if not tokenizer.chat_template:
        raise ModelError(f"{settings.source}: its tokenizer has no chat template; use an instruction-tuned model")
    return tokenizer


def identity(settings: ModelSettings, checksum: Checksum = sha256_of) -> dict[str, Any]:
    """What exactly would be loaded, from the configuration alone: no weight is read into memory.

    Source and revision, the hub's commit or the checksums of a local folder's files, dtype, and the shape of the model;
    of weights that were quantised, how, and of a model that a package carries, which; of an adapter, the same of the
    model that it changes as `base`. Raises as `load_model` does.
    """
    base = base_of(settings.source)
    config = load_config(settings)
    with _explained(base or settings.source):
        text_config = config.get_text_config()
        model = without_weights(config)
        shape = {
            "architecture": type(model).__name__,
            "blocks": text_config.num_hidden_layers,
            "hidden_size": text_config.hidden_size,
            "vocabulary": text_config.vocab_size,
            "parameters": model.num_parameters(),
        }
    return {
        "source": settings.source,
        "revision": settings.revision,
        "commit": getattr(config, "_commit_hash", None),
        **provenance(settings.source, settings.revision, checksum),
        **({} if base is None else {"base": {"source": base, **provenance(base, settings.revision, checksum)}}),
        "dtype": settings.dtype,
        "quantization": settings.quantization,
        **shape,
    }


def finetune_identity(settings: ModelSettings, checksum: Checksum = sha256_of) -> dict[str, Any]:
    """The same of the model's finetune; of an adapter, its source and checksums. Raises ValueError without one."""
    contrast = settings.contrast
    if contrast is None or contrast.adapter is None:
        return identity(settings.finetune(), checksum)
    return {
        "source": contrast.adapter,
        "revision": contrast.revision,
        "commit": None,
        "adapter": True,
        **provenance(contrast.adapter, contrast.revision, checksum),
    }


def load_config(settings: ModelSettings) -> Any:
    """The model's configuration, its layer range checked. Raises as `load_model` does."""
    whole = _whole(settings)
    with _explained(whole.source):
        config = AutoConfig.from_pretrained(**pretrained(whole.source, whole.revision), trust_remote_code=False)
        blocks = int(config.get_text_config().num_hidden_layers)
    check_layers(settings.layers, blocks, f"params.yaml: layers of {settings.source}")
    return config


def _quantization(settings: ModelSettings) -> Any:
    if located(settings.source)[1] is not None:
        return unpacked(settings.source, settings.quantization)
    if settings.quantization is None:
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            f"{settings.source}: quantization {settings.quantization} needs the library bitsandbytes; install it with "
            "`pip install introspection[quantization]`, or set quantization: null in params.yaml"
        )
    return BitsAndBytesConfig(
        load_in_8bit=settings.quantization == "8bit",
        load_in_4bit=settings.quantization == "4bit",
        bnb_4bit_compute_dtype=getattr(torch, settings.dtype),
    )


@contextmanager
def _explained(source: str) -> Iterator[None]:
    """Say in one line what is wrong with a source, and what to do about it.

    Whatever its files hold, transformers and safetensors raise what the bytes lead them to, so all is caught but what
    is explained already and what says that memory is short.
    """
    if located(source)[1] is None and names_a_folder(source) and not is_folder(source):
        raise ModelError(f"{source}: there is no such folder; {_missing(source)}")
    try:
        yield
    except (ModelError, SourceError, ChatTemplateError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        if located(source)[1] is not None:
            advice = ADVICE
        elif "gated" in reason.lower() or "401" in reason:
            advice = "it is gated: accept its licence on the hub, log in with `hf auth login`, and run again"
        elif "safetensors" in reason and Path(source).is_dir():
            advice = "only safetensors weights are loaded: convert the model first"
        elif "not compiled with" in reason or "CUDA" in reason:
            advice = "device_map asks for a device that this machine has not; change it in params.yaml"
        elif Path(source).is_dir():
            advice = "give a folder that a model was saved to with save_pretrained, tokenizer included"
        else:
            advice = "check the hub id and the network, or download it elsewhere and give its folder as `source`"
        raise ModelError(f"{source}: cannot be loaded; {advice} ({reason[:300]})") from error


def _missing(source: str) -> str:
    """What to do about a folder that is not there."""
    if source.startswith("data/raw/"):
        return f"fetch it with `dvc repro fetch@{Path(source).name}`"
    return "give one that a model was saved to with save_pretrained, tokenizer included, or an id of the hub"
