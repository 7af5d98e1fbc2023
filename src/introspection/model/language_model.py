"""Load a language model, and find the parts that the measurement touches: blocks, final norm, unembedding."""

from __future__ import annotations

import gc
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate.utils import align_module_device
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.modeling_outputs import BaseModelOutputWithPast

from introspection.settings import ModelSettings, check_layers
from introspection.sources.gguf import ADVICE, check_all_was_read, gguf_path, located, pretrained, unpacked
from introspection.sources.provenance import provenance

_VOCABULARY_CHUNK = 16384  # rows of the unembedding that are in float32 at a time


class ModelError(RuntimeError):
    """A model cannot be loaded or does not have the parts that the study needs; the message says what to do."""


class _Read(BaseModelOutputWithPast):
    """What a backbone returns; whatever else a family expects of it is absent."""

    def __getattr__(self, name: str) -> None:
        return None


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model of any family, with its tokenizer."""

    model: Any
    tokenizer: Any

    @cached_property
    def blocks(self) -> nn.ModuleList:
        """The decoder blocks, in order."""
        count = self.text_config.num_hidden_layers
        found = [m for m in self.model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
        if not found:
            raise ModelError(f"{self.name}: no list of {count} decoder blocks; only decoder-only models are supported")
        return found[0]

    @cached_property
    def backbone(self) -> nn.Module:
        """The module that turns token ids into the last residual stream: the model without its unembedding."""
        backbone: nn.Module = self.model.base_model
        return backbone

    @cached_property
    def final_norm(self) -> nn.Module:
        """The normalisation between the last block and the unembedding."""
        for parent in self.backbone.modules():
            children = list(parent.children())
            if any(child is self.blocks for child in children):
                norms = [child for child in children if "norm" in type(child).__name__.lower()]
                if norms:
                    return norms[-1]  # the last: some families also norm the embedding, before the blocks
        raise ModelError(f"{self.name}: no final norm beside the decoder blocks; the logit lens is not defined")

    @cached_property
    def unembedding(self) -> nn.Module:
        """The linear map from the normed residual stream to logits."""
        head: nn.Module | None = self.model.get_output_embeddings()
        if head is None:
            raise ModelError(f"{self.name}: has no unembedding; load a causal language model")
        return head

    @property
    def text_config(self) -> Any:
        """The part of the model's configuration that describes its decoder."""
        return self.model.config.get_text_config()

    @property
    def name(self) -> str:
        """The folder or hub id that the model came from."""
        return str(self.model.config.name_or_path)

    @property
    def hidden_size(self) -> int:
        """The width of the residual stream."""
        return int(self.text_config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where token ids go in."""
        embedding = self.model.get_input_embeddings()
        hook = getattr(embedding, "_hf_hook", None)
        device = getattr(hook, "execution_device", None)
        return torch.device(device) if device is not None else embedding.weight.device

    def token(self, text: str) -> int:
        """The id of a text that is one token. Raises ModelError where it is none or several."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            pieces = self.tokenizer.convert_ids_to_tokens(ids)
            raise ModelError(f"{self.name}: {text!r} is {len(ids)} tokens in this tokenizer ({pieces}), not one")
        return int(ids[0])

    def is_token(self, text: str) -> bool:
        """Whether the text is one token."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"]) == 1

    @torch.inference_mode()
    def normed(self, residual: Tensor) -> Tensor:
        """The final norm in float32 of states of the residual stream, (rows, hidden) to (rows, hidden)."""
        with align_module_device(self.final_norm, None):
            weights = {name: value.float() for name, value in self.final_norm.named_parameters()}
            device = next(iter(weights.values())).device if weights else residual.device
            normed: Tensor = torch.func.functional_call(self.final_norm, weights, (residual.to(device, torch.float32),))
        return normed

    @torch.inference_mode()
    def logits(self, residual: Tensor) -> Tensor:
        """Final norm and unembedding of states of the residual stream, (rows, hidden) to (rows, vocabulary).

        All in float32, whatever dtype the weights have; `residual` is the stream before the final norm.
        """
        return self._unembedded(self.normed(residual))

    @torch.inference_mode()
    def check_unembedding(self) -> None:
        """Compare `logits` with what the model itself makes of a state. Raises ModelError where they differ.

        Some families scale logits in ways of their own. One state is unembedded, and where the model can be handed it,
        no block is computed.
        """
        given: list[Tensor] = []
        state = torch.randn(1, 1, self.hidden_size, generator=torch.Generator().manual_seed(0))
        state = state.to(self.device, self.model.dtype)
        handle = self.unembedding.register_forward_pre_hook(lambda _module, inputs: given.append(inputs[0]))
        own = vars(self.backbone).get("forward")
        self.backbone.forward = lambda *_inputs, **_named: _Read(last_hidden_state=state)
        try:
            theirs = self.model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=self.device)).logits[0, -1:]
        finally:
            handle.remove()
            if own is None:
                del self.backbone.forward
            else:
                self.backbone.forward = own
        ours = self._unembedded(given[0][0, -1:].float()).to(theirs.device)
        if not torch.allclose(ours, theirs.float(), atol=0.03 * float(ours.abs().max()), rtol=0):
            raise ModelError(
                f"{self.name}: its logits are not its unembedding in a way that is known here, so probabilities would "
                "be wrong; this family is not supported"
            )

    def _unembedded(self, normed: Tensor) -> Tensor:
        with align_module_device(self.unembedding, None):
            weight = self.unembedding.weight
            assert isinstance(weight, Tensor)
            normed = normed.to(weight.device)
            pieces = [normed @ rows.float().T for rows in weight.split(_VOCABULARY_CHUNK)]
            logits = torch.cat(pieces, dim=-1)
            bias = getattr(self.unembedding, "bias", None)
            if bias is not None:
                logits += bias.float()
        return self._rescaled(logits)

    def _rescaled(self, logits: Tensor) -> Tensor:
        """What some families do to logits after the unembedding: Cohere, Granite and Gemma 2."""
        config = self.text_config
        scale = getattr(config, "logit_scale", None)
        divisor = getattr(config, "logits_scaling", None)
        cap = getattr(config, "final_logit_softcapping", None)
        if scale is not None:
            logits = logits * scale
        if divisor is not None:
            logits = logits / divisor
        if cap is not None:
            logits = torch.tanh(logits / cap) * cap
        return logits


def load_model(settings: ModelSettings) -> LanguageModel:
    """Load weights and tokenizer from a folder or the hub: safetensors or GGUF, no remote code.

    The layer range is checked against the model's configuration before any weight is read.
    Raises ModelError for a model that is missing, gated or out of reach, SourceError for a GGUF file that cannot be
    read, SettingsError for a range outside it.
    """
    config = load_config(settings)
    tokenizer = load_tokenizer(settings)
    with _explained(settings.source):
        model = AutoModelForCausalLM.from_pretrained(
            **pretrained(settings.source, settings.revision),
            config=config,
            dtype=getattr(torch, settings.dtype),
            device_map=_device_map(settings),
            max_memory=_max_memory(settings, config),
            quantization_config=_quantization(settings),
            use_safetensors=True,
            trust_remote_code=False,
        )
    weights = gguf_path(settings.source, settings.revision)
    if weights is not None:
        check_all_was_read(weights, model)
    model.eval()
    model.requires_grad_(False)
    loaded = LanguageModel(model, tokenizer)
    loaded.check_unembedding()
    return loaded


def load_tokenizer(settings: ModelSettings) -> Any:
    """The model's tokenizer. Raises ModelError where it is out of reach or has no chat template."""
    with _explained(settings.source):
        tokenizer = AutoTokenizer.from_pretrained(
            **pretrained(settings.source, settings.revision), trust_remote_code=False
        )
    if not tokenizer.chat_template:
        raise ModelError(f"{settings.source}: its tokenizer has no chat template; use an instruction-tuned model")
    return tokenizer


def identity(settings: ModelSettings) -> dict[str, Any]:
    """What exactly would be loaded, from the configuration alone: no weight is read into memory.

    Source and revision, the hub's commit or the checksums of a local folder's files, dtype, and the shape of the model;
    of weights that were quantised, how, and of a model that a package carries, which. Raises as `load_model` does.
    """
    config = load_config(settings)
    text_config = config.get_text_config()
    model = without_weights(config)
    return {
        "source": settings.source,
        "revision": settings.revision,
        "commit": getattr(config, "_commit_hash", None),
        **provenance(settings.source, settings.revision),
        "dtype": settings.dtype,
        "quantization": settings.quantization,
        "architecture": type(model).__name__,
        "blocks": text_config.num_hidden_layers,
        "hidden_size": text_config.hidden_size,
        "vocabulary": text_config.vocab_size,
        "parameters": model.num_parameters(),
    }


def load_config(settings: ModelSettings) -> Any:
    """The model's configuration, its layer range checked. Raises as `load_model` does."""
    with _explained(settings.source):
        config = AutoConfig.from_pretrained(**pretrained(settings.source, settings.revision), trust_remote_code=False)
    blocks = config.get_text_config().num_hidden_layers
    check_layers(settings.layers, blocks, f"params.yaml: layers of {settings.source}")
    return config


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


def _device_map(settings: ModelSettings) -> str | None:
    if settings.device_map or settings.max_memory:
        return settings.device_map or "auto"
    return "cuda" if torch.cuda.is_available() else None


def _max_memory(settings: ModelSettings, config: Any) -> dict[Any, Any] | None:
    if settings.max_memory:
        return {**settings.max_memory}
    if _device_map(settings) != "auto" or not torch.cuda.is_available():
        return None
    free = [torch.cuda.mem_get_info(device)[0] for device in range(torch.cuda.device_count())]
    room = room_for_weights(weight_bytes(without_weights(config), settings), free)
    return {**dict(enumerate(room)), "cpu": int(0.9 * psutil.virtual_memory().available)}


@contextmanager
def resident(settings: ModelSettings) -> Iterator[LanguageModel]:
    """A model that is in memory only inside the context, so that another can take its place afterwards."""
    loaded = load_model(settings)
    try:
        yield loaded
    finally:
        vars(loaded).clear()  # frees the weights though the caller's variable still names the object
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextmanager
def weights_in_place(block: nn.Module) -> Iterator[None]:
    """Bring a block's weights that lie in host memory or on disk, once for all that is computed inside the context.

    accelerate's hooks bring them for every call of a module; meanwhile they are set aside.
    """
    with ExitStack() as stack:
        for module in block.modules():
            if getattr(getattr(module, "_hf_hook", None), "offload", False):
                stack.enter_context(align_module_device(module))
                stack.callback(setattr, module, "forward", module.forward)
                module.forward = vars(module)["_old_forward"]
        yield


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
    """Say in one line what is wrong with a source, and what to do about it."""
    try:
        yield
    except (OSError, ValueError, ImportError, LookupError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        if located(source)[1] is not None:
            advice = ADVICE
        elif "gated" in reason.lower() or "401" in reason:
            advice = "it is gated: accept its licence on the hub, log in with `hf auth login`, and run again"
        elif "safetensors" in reason and Path(source).is_dir():
            advice = "only safetensors weights are loaded: convert the model first"
        elif Path(source).is_dir() or source.startswith((".", "/", "models/")):
            advice = "give a folder that a model was saved to with save_pretrained, tokenizer included"
        else:
            advice = "check the hub id and the network, or download it elsewhere and give its folder as `source`"
        raise ModelError(f"{source}: cannot be loaded; {advice} ({reason[:300]})") from error
