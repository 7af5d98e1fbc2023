"""What the injected thought is about: each concept's token through the layers, and the tokens an injection boosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from transformers.convert_slow_tokenizer import bytes_to_unicode

from introspection.engine.cache import Prefill
from introspection.engine.trial import Directions, Injection
from introspection.experiments.content.tables import BOOSTED, CONTENT
from introspection.experiments.subject import Run, Subject
from introspection.injection.cells import Readings, cell_columns, cells_of, run_cells
from introspection.injection.depths import both_arms, by_layer
from introspection.model.language_model import LanguageModel
from introspection.model.readout import log_odds
from introspection.stimuli.prompts import Stimuli
from introspection.tables import Outputs


def trials(subject: Subject) -> list[Run]:
    """Every content prompt with nothing injected, and under every injection; read at every depth."""
    prompts = subject.stimuli.content
    cells = cells_of(list(prompts), subject.questions.injections(subject.vectors))
    return [subject.run(prompts, cells, len(subject.model.blocks) + 1)]


def measure(subject: Subject) -> Outputs:
    """Each concept's token over all layers, the most boosted tokens, and which token stands for which concept."""
    tokens = concept_tokens(subject.model, subject.concepts)
    report = report_content(
        subject.model,
        subject.stimuli,
        tokens,
        subject.questions.injections(subject.vectors),
        subject.directions(subject.vectors),
        subject.prefills,
        boosted=subject.settings.content.boosted_tokens,
        tokens_per_batch=subject.tokens_per_batch,
        progress="content",
    )
    return {
        CONTENT.name: CONTENT.of(report.concepts),
        BOOSTED.name: BOOSTED.of(report.boosted),
        "content_tokens.json": {token.concept: {"token": token.text, "whole": token.whole} for token in tokens},
    }


@dataclass(frozen=True)
class ConceptToken:
    """The token by which a concept is looked for: the first of those that spell it right after an open quotation mark.

    whole: whether this token is the whole concept.
    """

    concept: str
    token_id: int
    text: str
    whole: bool


@dataclass(frozen=True)
class ContentReport:
    """concepts: vector, prompt, token, layer, p_base, p_injected: every concept's token at every layer.

    boosted: vector, prompt, rank, token, p_base, p_injected, log_odds_shift: the tokens whose probability at the last
    layer the injection increases most, by the increase in probability, as the study lists them.
    """

    concepts: pd.DataFrame
    boosted: pd.DataFrame


def report_content(
    model: LanguageModel,
    stimuli: Stimuli,
    tokens: Sequence[ConceptToken],
    injections: Sequence[Injection],
    directions: Directions,
    prefills: Mapping[str, Prefill] | None = None,
    *,
    boosted: int = 10,
    tokens_per_batch: int | None = None,
    progress: str | None = None,
) -> ContentReport:
    """Every injection under the longer beginning of the reply, which asks for the content (experiment 6).

    prefills: turn 1 of each content prompt as the finetune has read it; adds rows with vector `finetune`.
    boosted: how many tokens to list. Concepts that begin with the same token share its rows.
    """
    cells = cells_of(list(stimuli.content), injections, prefills)
    readings = run_cells(
        model, stimuli.content, cells, directions, prefills, tokens_per_batch=tokens_per_batch, progress=progress
    )
    keys = cell_columns(cells)[["vector", "prompt"]]
    texts = {token.token_id: token.text for token in tokens}
    base, injected = (arm.transpose(1, 2).flatten(0, 1) for arm in both_arms(model, readings, list(texts)))
    by_token = keys.loc[keys.index.repeat(len(texts))].reset_index(drop=True)
    by_token["token"] = list(texts.values()) * len(keys)
    concepts = by_layer(by_token, {"p_base": base, "p_injected": injected})
    return ContentReport(concepts, _most_boosted(model, readings, keys, boosted))


def concept_tokens(model: LanguageModel, concepts: Sequence[str]) -> list[ConceptToken]:
    """The token of each concept, without the space that it would begin with in the middle of a sentence."""
    found = []
    for concept in concepts:
        ids = [int(token) for token in model.tokenizer(concept, add_special_tokens=False)["input_ids"]]
        found.append(ConceptToken(concept, ids[0], token_text(model, ids[0]), len(ids) == 1))
    return found


def token_text(model: LanguageModel, token: int) -> str:
    """What a token adds to a text, exactly: spaces stay, and bytes that are no whole character are shown as \\xNN."""
    before = model.tokenizer("a", add_special_tokens=False)["input_ids"]  # some decoders drop a space at the beginning

    def decode(tokens: Sequence[int]) -> str:
        text: str = model.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    text = decode([*before, token])[len(decode(before)) :]
    if "\ufffd" not in text:
        return text
    # A piece of a character: byte-level vocabularies spell its bytes as letters, others as <0xNN>.
    name: str = model.tokenizer.convert_ids_to_tokens(token)
    letters = {letter: byte for byte, letter in bytes_to_unicode().items()}
    if not all(letter in letters for letter in name):
        return name
    return bytes(letters[letter] for letter in name).decode("utf-8", "backslashreplace")


def _most_boosted(model: LanguageModel, readings: Readings, keys: pd.DataFrame, count: int) -> pd.DataFrame:
    base_logits, injected_logits = (model.logits(arm[:, -1]).cpu() for arm in (readings.base, readings.injected))
    rows = []
    for cell, conversation in enumerate(readings.conversations):
        logits = torch.stack([base_logits[conversation], injected_logits[cell]])
        base, injected = torch.softmax(logits, dim=-1)
        order = torch.sort(injected - base, descending=True, stable=True).indices[:count]
        for rank, token in enumerate(order.tolist(), start=1):
            odds = log_odds(logits, token)
            rows.append(
                {
                    **keys.iloc[cell].to_dict(),
                    "rank": rank,
                    "token": token_text(model, token),
                    "p_base": float(base[token]),
                    "p_injected": float(injected[token]),
                    "log_odds_shift": float(odds[1] - odds[0]),
                }
            )
    return pd.DataFrame(rows)
