"""A finetune in the place of its base model: the persona vector, and turn 1 read by another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from introspection.engine.cache import Prefill
from introspection.engine.run import prefill
from introspection.injection.repengs import ControlVector
from introspection.injection.vectors import contrast, last_token_states, text_trials
from introspection.model.language_model import LanguageModel, ModelError
from introspection.model.loading import resident
from introspection.model.switching import adapted, attach_adapter, detach_adapter
from introspection.settings import ModelSettings, SignRule
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Conversation


@contextmanager
def finetune_of(base: LanguageModel, settings: ModelSettings) -> Iterator[LanguageModel]:
    """The model's finetune inside the context: an adapter on the model itself, or a whole model in its place.

    A whole model takes the memory of `base`, which cannot be used afterwards. Raises ValueError without a finetune.
    """
    if settings.contrast is not None and settings.contrast.adapter is not None:
        attach_adapter(base, settings.contrast.adapter, settings.contrast.revision)
        try:
            with adapted(base):
                yield base
        finally:
            detach_adapter(base)
    else:
        finetune = settings.finetune()
        own, name = _shape(base), base.name
        base.release()
        with resident(finetune) as loaded:
            if _shape(loaded) != own:
                raise ModelError(
                    f"{loaded.name}: blocks, width and heads are {_shape(loaded)}, and those of {name} are {own}: "
                    "it is no finetune of this model; give its own as `contrast` in params.yaml"
                )
            yield loaded


def _shape(model: LanguageModel) -> tuple[int, int, int | None]:
    """What must be alike for one model to go on from what another has read."""
    config = model.text_config
    return len(model.blocks), model.hidden_size, getattr(config, "num_key_value_heads", None)


def persona_vector(
    settings: ModelSettings,
    prompts: Sequence[str],
    tokens_per_batch: int | None = None,
    sign: SignRule = "majority",
) -> ControlVector:
    """The model-contrastive vector: what the finetune's activations have over the model's on the same raw prompts.

    Raises ValueError for a model without a finetune.
    """
    with resident(settings) as base:
        trials = text_trials(base.tokenizer, prompts)  # the finetune reads the same tokens, whatever its tokenizer is
        before = last_token_states(base, trials, tokens_per_batch)
        with finetune_of(base, settings) as finetune:
            after = last_token_states(finetune, trials, tokens_per_batch)
            return contrast(finetune, after, before, sign)


def finetune_prefills(settings: ModelSettings, conversations: Mapping[str, Conversation]) -> dict[str, Prefill]:
    """For each conversation, what is before turn 1 read by the model and turn 1 read by its finetune.

    The caches wait in host memory while the models change places. Raises ValueError for a model without a finetune.
    """
    with resident(settings) as base:
        encoded = {key: encode(base.tokenizer, conversation) for key, conversation in conversations.items()}
        opened = {
            key: prefill(base, text.token_ids[: text.steered[0]]) if text.steered[0] else None
            for key, text in encoded.items()
        }
        with finetune_of(base, settings) as finetune:
            return {
                key: prefill(finetune, text.token_ids[: text.steered[1]], opened[key]) for key, text in encoded.items()
            }
