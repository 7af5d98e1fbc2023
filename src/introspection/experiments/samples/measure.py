"""Replies under steering: not introspection, but a look at what a vector does to what the model says."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from introspection.engine.memory import is_out_of_memory
from introspection.engine.reading import NotFiniteError
from introspection.engine.trial import Directions, Injection, Trial
from introspection.experiments.samples.tables import SAMPLES
from introspection.experiments.subject import Run, Subject
from introspection.injection.additions import additions
from introspection.injection.dose import Dose
from introspection.injection.finetune import finetune_of
from introspection.model.language_model import LanguageModel, ModelError
from introspection.names import ANTI_PERSONA, FINETUNE, NOTHING, PERSONA
from introspection.steering import Edit, steered
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Conversation
from introspection.tables import Outputs


@dataclass(frozen=True)
class Intervention:
    """What is done to the model while it reads and replies, by the name it has in the tables."""

    name: str
    injection: Injection | None = None


def trials(subject: Subject) -> list[Run]:
    """The same conversation once for each intervention, and as many tokens after it as a reply may have."""
    text = encode(subject.model.tokenizer, subject.stimuli.top_of_mind)
    row = Trial(text.token_ids, text.steered)
    rows = [row] * len(interventions(subject.replies, subject.concepts))
    return [Run(rows, new_tokens=subject.settings.samples.max_new_tokens)]


def measure(subject: Subject) -> Outputs:
    """The replies under every intervention, and those of the finetune, which stand after the concepts'."""
    under, texts = sampled(subject, subject.replies)
    if subject.model_settings.contrast:
        with finetune_of(subject.model, subject.model_settings) as finetune:
            reply = _replies(subject, finetune, [Intervention(FINETUNE)], {})
        place = 1 + len(subject.concepts)
        under.insert(place, Intervention(FINETUNE))
        texts[place:place] = reply
    return {SAMPLES.name: SAMPLES.of(samples_table(under, texts))}


def interventions(dose: Dose, concepts: Sequence[str]) -> list[Intervention]:
    """None at all, each concept, and for a model with a finetune the persona vector and its opposite."""
    personas = [] if dose.persona_strength is None else [PERSONA, ANTI_PERSONA]
    return [
        Intervention(NOTHING),
        *(Intervention(vector, dose.injection(vector)) for vector in (*concepts, *personas)),
    ]


def sampled(subject: Subject, dose: Dose) -> tuple[list[Intervention], list[str]]:
    """All interventions at a dose, and the model's reply under each."""
    under = interventions(dose, subject.concepts)
    directions = subject.directions([each.injection.vector for each in under if each.injection])
    return under, _replies(subject, subject.model, under, directions)


def _replies(
    subject: Subject, model: LanguageModel, under: Sequence[Intervention], directions: Directions
) -> list[str]:
    how = subject.settings.samples
    return generate_replies(
        model,
        subject.stimuli.top_of_mind,
        under,
        directions,
        max_new_tokens=how.max_new_tokens,
        temperature=how.temperature,
        seed=subject.settings.study.seed,
    )


def generate_replies(
    model: LanguageModel,
    conversation: Conversation,
    interventions: Sequence[Intervention],
    directions: Directions,
    *,
    max_new_tokens: int = 40,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """The whole reply that continues the conversation's last turn, under each intervention, all in one batch.

    The vector is added at every position, those of the reply included. Greedy at temperature 0, and none of the
    settings that a model brings with it (penalties, truncation) apply. Above 0 every row is sampled with the same
    noise, so a reply depends on its own intervention and the seed alone. Special tokens are left out of the text. A
    batch that does not fit in memory is halved until it does. Raises NotFiniteError where a logit is not finite.
    """
    prompt = list(encode(model.tokenizer, conversation).token_ids)
    ends = _end_tokens(model)
    plain = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=ends, pad_token_id=ends[0])

    def replies(under: Sequence[Intervention]) -> list[list[int]]:
        rows = torch.tensor([prompt] * len(under), device=model.device)
        noise = [_GumbelNoise(temperature, seed)] if temperature > 0 else []
        processors = LogitsProcessorList([_Finite(under, len(prompt)), *noise])
        added = additions(model, [each.injection for each in under], directions)
        edits = {block: Edit(additions=vectors) for block, vectors in added.items()}
        try:
            with steered(model.blocks, edits), _own_settings_aside(model):
                generated = model.model.generate(
                    rows, attention_mask=torch.ones_like(rows), generation_config=plain, logits_processor=processors
                )
        except (MemoryError, RuntimeError) as error:
            if len(under) == 1 or not is_out_of_memory(error):
                raise
        else:
            return [row[len(prompt) :].tolist() for row in generated]
        tqdm.write(f"memory does not hold {len(under)} replies at once: they are written in halves", sys.stderr)
        half = len(under) // 2
        return replies(under[:half]) + replies(under[half:])

    return [
        _reply(model, conversation, prompt, [*takewhile(lambda token: token not in ends, reply)])
        for reply in replies(interventions)
    ]


def samples_table(interventions: Sequence[Intervention], replies: Sequence[str]) -> pd.DataFrame:
    """intervention, strength (0 for none, empty for the finetune), first_layer, last_layer, text."""
    injections = [intervention.injection for intervention in interventions]
    strengths = {FINETUNE: float("nan")}
    return pd.DataFrame(
        {
            "intervention": [intervention.name for intervention in interventions],
            "strength": [
                each.injection.strength if each.injection else strengths.get(each.name, 0.0) for each in interventions
            ],
            "first_layer": pd.array([arm.first_layer if arm else None for arm in injections], dtype="Int64"),
            "last_layer": pd.array([arm.last_layer if arm else None for arm in injections], dtype="Int64"),
            "text": list(replies),
        }
    )


class _Finite(LogitsProcessor):
    """Raises NotFiniteError where a logit is NaN or infinite, since a choice of the largest would not notice."""

    def __init__(self, under: Sequence[Intervention], prompt: int) -> None:
        self._under, self._prompt = under, prompt

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores as they are, (rows, vocabulary)."""
        wrong = (~torch.isfinite(scores)).any(dim=-1).nonzero()
        if len(wrong):
            under = self._under[int(wrong[0])]
            raise NotFiniteError(
                f"the logits of token {input_ids.shape[1] - self._prompt + 1} of the reply under {under.name} "
                f"({under.injection or 'no injection'}) are not finite; lower the strength or use a wider dtype"
            )
        return scores


class _GumbelNoise(LogitsProcessor):
    """Makes the greedy choice a sample from the softmax at a temperature: the largest of logits plus Gumbel noise."""

    def __init__(self, temperature: float, seed: int) -> None:
        self.temperature = temperature
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores and noise, (rows, vocabulary); each call draws anew, the same for all rows."""
        exponential = torch.empty(scores.shape[-1]).exponential_(generator=self.generator)
        return scores.float() / self.temperature - exponential.log().to(scores.device)


@contextmanager
def _own_settings_aside(model: LanguageModel) -> Iterator[None]:
    """Without the generation settings that came with the model, which would fill in whatever is not given."""
    brought = model.model.generation_config
    model.model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.model.generation_config = brought


def _end_tokens(model: LanguageModel) -> list[int]:
    """The tokens that end a reply, by the model's own settings and by its tokenizer. Raises ModelError without any."""
    brought: Any = model.model.generation_config.eos_token_id
    named = [*(brought if isinstance(brought, list) else [brought]), model.tokenizer.eos_token_id]
    ends = [int(token) for token in dict.fromkeys(named) if token is not None]
    if not ends:
        raise ModelError(f"{model.name}: neither its generation settings nor its tokenizer name an end-of-text token")
    return ends


def _reply(model: LanguageModel, conversation: Conversation, prompt: list[int], new: list[int]) -> str:
    def decode(tokens: list[int]) -> str:
        text: str = model.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    # Decoded together with what comes before, since some decoders drop a space at the beginning.
    return conversation[-1].content + decode(prompt + new)[len(decode(prompt)) :]
