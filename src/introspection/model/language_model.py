"""A language model and the parts of it that the measurement touches: blocks, final norm, unembedding."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from accelerate.utils import align_module_device
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from introspection.model.hooks import replaced_forward
from introspection.settings import ModelSettings
from introspection.sources.templates import rendered

_VOCABULARY_CHUNK = 16384  # rows of the unembedding that are in float32 at a time


class ModelError(RuntimeError):
    """A model cannot be loaded or does not have the parts that the study needs; the message says what to do."""


class _Read(BaseModelOutputWithPast):
    """What a backbone returns; whatever else a family expects of it is absent."""

    def __getattr__(self, name: str) -> None:
        return None


class AdapterSource(NamedTuple):
    """Where an adapter comes from: a folder or a hub id, and there a revision."""

    source: str
    revision: str | None


@dataclass(eq=False)
class LanguageModel:
    """A causal language model of any family, with its tokenizer.

    settings: what it was loaded with, by which another process can load the same; None where its weights are its own.
    attached, adapted: the adapter that is beside its weights, and whether it is switched on.
    """

    model: Any
    tokenizer: Any
    settings: ModelSettings | None = None
    attached: AdapterSource | None = None
    adapted: bool = False

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
    def adapter(self) -> AdapterSource | None:
        """The adapter that takes part in what the model computes."""
        return self.attached if self.adapted else None

    def release(self) -> None:
        """Free the memory of the weights, though a variable may still name this object, which then is of no use.

        The model, the tokenizer and the parts found in the model are forgotten.
        """
        vars(self).clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

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
    def check_weights(self) -> None:
        """Raise ModelError for a weight that is no finite number, by its name; what lies on disk is not looked at."""
        for name, weight in self.model.named_parameters():
            if weight.is_floating_point() and not weight.is_meta and not bool(weight.isfinite().all()):
                raise ModelError(
                    f"{self.name}: the weights {name} hold NaN or infinity, so nothing can be measured with them; "
                    "save or fetch the model anew, or load it in a wider dtype"
                )

    def check_vocabulary(self) -> None:
        """Raise ModelError for a tokenizer with more tokens than the model has an embedding for.

        Of tokens that were added to a tokenizer only those that a conversation takes are looked at: some families name
        tokens of other kinds (of images, say) that a model of texts has not.
        """
        rows = self.model.get_input_embeddings().weight.shape[0]
        text = rendered(self.tokenizer, [{"role": "user", "content": "a"}])
        last = max([self.tokenizer.vocab_size - 1, *self.tokenizer(text, add_special_tokens=True)["input_ids"]])
        if last >= rows:
            raise ModelError(
                f"{self.name}: its tokenizer has tokens up to number {last}, and the model has an embedding for "
                f"{rows}; give the tokenizer and the weights of one model"
            )

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
        with handle, replaced_forward(self.backbone, lambda *_inputs, **_named: _Read(last_hidden_state=state)):
            theirs = self.model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=self.device)).logits[0, -1:]
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
