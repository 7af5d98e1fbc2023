"""Does the model say yes? Every conversation under every injection, beside the same conversation with none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from introspection.chat import EncodedConversation, encode
from introspection.config import ModelSettings
from introspection.models import LanguageModel
from introspection.readout import read_answers
from introspection.stimuli import Conversation, Stimuli
from introspection.trials import Directions, Injection, Prefill, Trial, run_prefilled, run_trials

READOUT = [
    f"{name}_{arm}{rounding}"
    for name, rounding in (("p_yes", ""), ("p_no", ""), ("log_odds_yes", ""), ("p_yes", "_bf16"), ("p_no", "_bf16"))
    for arm in ("base", "injected")
]
FINETUNE = "finetune"
PERSONA = "persona"


def study_injections(
    settings: ModelSettings, vectors: Sequence[str], layers: tuple[int, int] | None = None
) -> list[Injection]:
    """Each vector at the model's strength and layers (or other layers); the persona vector at its own strength."""
    first, last = layers or settings.layers
    strengths = {PERSONA: settings.contrast.strength} if settings.contrast else {}
    return [Injection(vector, strengths.get(vector, settings.strength), first, last) for vector in vectors]


def detect(
    model: LanguageModel,
    stimuli: Stimuli,
    conversations: Mapping[str, Conversation],
    injections: Sequence[Injection],
    directions: Directions,
    prefills: Mapping[str, Prefill] | None = None,
    *,
    tokens_per_batch: int = 16384,
    progress: str | None = None,
) -> pd.DataFrame:
    """The yes/no answer to each conversation, unsteered and under each injection, all in one run of the engine.

    prefills: for each conversation's key, its turn 1 as another model has read it; adds rows with vector `finetune`.
    Returns one row per injection and conversation, in that order: vector, prompt (the conversation's key), strength,
    first_layer, last_layer (missing for the finetune), and the readout columns.
    """
    encoded = {key: encode(model.tokenizer, conversation) for key, conversation in conversations.items()}
    arms: list[Injection | None] = [None, *injections]
    trials = [Trial(text.token_ids, text.steered, arm) for arm in arms for text in encoded.values()]
    last = [len(model.blocks)]
    states = run_trials(model, trials, directions, layers=last, tokens_per_batch=tokens_per_batch, progress=progress)
    answers = pd.DataFrame(read_answers(model, states[:, 0], stimuli.yes, stimuli.no))
    base = answers.iloc[: len(encoded)].add_suffix("_base").reset_index(drop=True)
    blocks = []
    for number, injection in enumerate(injections, start=1):
        injected = answers.iloc[number * len(encoded) : (number + 1) * len(encoded)]
        blocks.append(_side_by_side(injection, list(encoded), base, injected))
    if prefills:
        states = run_prefilled(model, [prefills[key] for key in encoded], _after_turn_1(encoded), layers=last)
        injected = pd.DataFrame(read_answers(model, states[:, 0], stimuli.yes, stimuli.no))
        blocks.append(_side_by_side(None, list(encoded), base, injected))
    return pd.concat(blocks, ignore_index=True)


def _after_turn_1(encoded: Mapping[str, EncodedConversation]) -> list[tuple[int, ...]]:
    return [text.token_ids[text.steered[1] :] for text in encoded.values()]


def _side_by_side(
    injection: Injection | None, keys: Sequence[str], base: pd.DataFrame, injected: pd.DataFrame
) -> pd.DataFrame:
    frame = pd.DataFrame({"vector": injection.vector if injection else FINETUNE, "prompt": list(keys)})
    frame["strength"] = injection.strength if injection else float("nan")
    frame["first_layer"] = pd.array([injection.first_layer if injection else None] * len(keys), dtype="Int64")
    frame["last_layer"] = pd.array([injection.last_layer if injection else None] * len(keys), dtype="Int64")
    answers = pd.concat([base, injected.add_suffix("_injected").reset_index(drop=True)], axis=1)
    # p_yes_bf16_injected is called p_yes_injected_bf16 in the files
    answers.columns = [f"{c.replace('_bf16', '')}_bf16" if "_bf16" in c else c for c in answers.columns]
    return pd.concat([frame, answers[READOUT]], axis=1)
