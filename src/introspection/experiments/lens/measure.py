"""The logit lens: what the residual stream would say at every layer, if it were the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor

from introspection.engine.cache import Prefill
from introspection.engine.trial import Directions, Injection
from introspection.injection.cells import Cell, Readings, cell_columns, run_cells
from introspection.model.language_model import LanguageModel, ModelError
from introspection.stimuli.prompts import Conversation, Stimuli

WEAK = "weak"
SCENARIOS = {"info": "info", "no_info": "no_info", "inaccurate_location": "inaccurate_location", WEAK: "info"}
"""The study's four scenarios and the prompt of each; `weak` injects at a fraction of the strength."""

_BYTES_AT_ONCE = 2**28  # of logits over the whole vocabulary that are in memory together


@dataclass(frozen=True)
class Variants:
    """The ways to say yes: those that are one token in the model's tokenizer, and those that are not."""

    used: tuple[str, ...]
    left_out: tuple[str, ...]


def token_probabilities(model: LanguageModel, states: Tensor, tokens: Sequence[int]) -> Tensor:
    """The probabilities of some tokens at states of the residual stream, (..., hidden) to (..., tokens).

    The final norm is applied once, whatever the layer; float32 throughout.
    """
    flat = states.reshape(-1, states.shape[-1])
    rows = max(1, _BYTES_AT_ONCE // (4 * int(model.text_config.vocab_size)))
    found = [torch.softmax(model.logits(part), dim=-1)[:, list(tokens)].cpu() for part in flat.split(rows)]
    return torch.cat(found).reshape(*states.shape[:-1], len(tokens))


def yes_variants(model: LanguageModel, stimuli: Stimuli) -> Variants:
    """Which of the stimuli's yes variants the lens can sum. Raises ModelError where none of them is one token."""
    used = tuple(variant for variant in stimuli.yes_variants if model.is_token(variant))
    if not used:
        raise ModelError(f"{model.name}: none of the yes variants {stimuli.yes_variants} is one token")
    return Variants(used, tuple(variant for variant in stimuli.yes_variants if variant not in used))


def yes_lens(
    model: LanguageModel,
    stimuli: Stimuli,
    injections: Sequence[Injection],
    directions: Directions,
    prefills: Mapping[str, Prefill] | None = None,
    *,
    weak_fraction: float = 0.25,
    tokens_per_batch: int | None = None,
    progress: str | None = None,
) -> pd.DataFrame:
    """The summed probability of the yes variants at every layer, in the study's four scenarios (experiment 5).

    prefills: turn 1 of each prompt as the finetune has read it; a finetune has no strength, so no weak scenario.
    Returns vector, scenario, prompt, strength, layer, p_yes_base, p_yes_injected; layer 0 is the embedding, k what
    follows block k-1.
    """
    named = lens_cells(injections, weak_fraction)
    if prefills:
        named += [(name, Cell(prompt, None)) for name, prompt in SCENARIOS.items() if name != WEAK]
    cells = [cell for _, cell in named]
    conversations = lens_conversations(stimuli)
    readings = run_cells(
        model, conversations, cells, directions, prefills, tokens_per_batch=tokens_per_batch, progress=progress
    )
    tokens = [model.token(variant) for variant in yes_variants(model, stimuli).used]
    base, injected = (arm.sum(dim=-1) for arm in both_arms(model, readings, tokens))
    keys = cell_columns(cells)[["vector", "prompt", "strength"]]
    keys.insert(1, "scenario", [name for name, _ in named])
    return by_layer(keys, {"p_yes_base": base, "p_yes_injected": injected})


def lens_conversations(stimuli: Stimuli) -> dict[str, Conversation]:
    """The conversations of the scenarios, by prompt."""
    return {prompt: stimuli.detection[prompt] for prompt in dict.fromkeys(SCENARIOS.values())}


def lens_cells(injections: Sequence[Injection], weak_fraction: float) -> list[tuple[str, Cell]]:
    """Every injection in every scenario, each with the scenario's name."""
    named = []
    for injection in injections:
        weak = replace(injection, strength=weak_fraction * injection.strength)
        named += [(name, Cell(prompt, weak if name == WEAK else injection)) for name, prompt in SCENARIOS.items()]
    return named


def both_arms(model: LanguageModel, readings: Readings, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The probabilities of some tokens without and with the injection, each (cells, layers, tokens)."""
    base = token_probabilities(model, readings.base, tokens)[readings.conversations]
    return base, token_probabilities(model, readings.injected, tokens)


def by_layer(keys: pd.DataFrame, values: Mapping[str, Tensor]) -> pd.DataFrame:
    """A row for every row of `keys` and every layer; each of `values` is (rows, layers)."""
    layers = next(iter(values.values())).shape[1]
    table = keys.loc[keys.index.repeat(layers)].reset_index(drop=True)
    table["layer"] = list(range(layers)) * len(keys)
    return table.assign(**{name: value.flatten().numpy() for name, value in values.items()})
