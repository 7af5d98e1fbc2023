"""The logit lens: what the residual stream would say at every layer, if it were the last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import pandas as pd

from introspection.engine.cache import Prefill
from introspection.engine.trial import Directions, Injection
from introspection.experiments.lens.tables import LENS
from introspection.experiments.subject import Run, Subject
from introspection.injection.cells import Cell, cell_columns, run_cells
from introspection.injection.depths import both_arms, by_layer
from introspection.model.language_model import LanguageModel, ModelError
from introspection.names import WEAK
from introspection.settings import SettingsError
from introspection.stimuli.prompts import Stimuli
from introspection.tables import Outputs


def trials(subject: Subject) -> list[Run]:
    """Every scenario with nothing injected, and under every injection; read at every depth."""
    weak = _weak(subject)
    conversations = subject.stimuli.detection
    scenarios = lens_cells(conversations, subject.questions.injections(subject.vectors), weak)
    return [subject.run(conversations, [cell for _, cell in scenarios], len(subject.model.blocks) + 1)]


def measure(subject: Subject) -> Outputs:
    """The lens over all layers, those after the finetune's turn 1 included, and which tokens it sums."""
    table = yes_lens(
        subject.model,
        subject.stimuli,
        subject.questions.injections(subject.vectors),
        subject.directions(subject.vectors),
        subject.prefills,
        weak=_weak(subject),
        tokens_per_batch=subject.tokens_per_batch,
        progress="lens",
    )
    return {
        LENS.name: LENS.of(table),
        "lens_variants.json": asdict(yes_variants(subject.model, subject.stimuli)),
    }


def _weak(subject: Subject) -> Weak:
    weak = Weak(subject.settings.lens.weak_prompt, subject.settings.lens.weak_fraction)
    if weak.prompt not in subject.stimuli.detection:
        raise SettingsError(
            f"params.yaml: lens.weak_prompt: found {weak.prompt!r}; allowed: {', '.join(subject.stimuli.detection)}"
        )
    return weak


@dataclass(frozen=True)
class Weak:
    """The last scenario: a prompt under an injection at a fraction of the strength."""

    prompt: str
    fraction: float


@dataclass(frozen=True)
class Variants:
    """The ways to say yes: those that are one token in the model's tokenizer, and those that are not."""

    used: tuple[str, ...]
    left_out: tuple[str, ...]


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
    weak: Weak,
    tokens_per_batch: int | None = None,
    progress: str | None = None,
) -> pd.DataFrame:
    """The summed probability of the yes variants at every layer, in every scenario (experiment 5).

    The scenarios are the prompts, and one of them again under a weak injection.
    prefills: turn 1 of each prompt as the finetune has read it; a finetune has no strength, so no weak scenario.
    Returns vector, scenario, prompt, strength, layer, p_yes_base, p_yes_injected; layer 0 is the embedding, k what
    follows block k-1.
    """
    conversations = stimuli.detection
    named = lens_cells(conversations, injections, weak)
    if prefills:
        named += [(prompt, Cell(prompt, None)) for prompt in conversations]
    cells = [cell for _, cell in named]
    readings = run_cells(
        model, conversations, cells, directions, prefills, tokens_per_batch=tokens_per_batch, progress=progress
    )
    tokens = [model.token(variant) for variant in yes_variants(model, stimuli).used]
    base, injected = (arm.sum(dim=-1) for arm in both_arms(model, readings, tokens))
    keys = cell_columns(cells)[["vector", "prompt", "strength"]]
    keys.insert(1, "scenario", [name for name, _ in named])
    return by_layer(keys, {"p_yes_base": base, "p_yes_injected": injected})


def lens_cells(prompts: Iterable[str], injections: Sequence[Injection], weak: Weak) -> list[tuple[str, Cell]]:
    """Every injection in every scenario, each with the scenario's name."""
    prompts = list(prompts)
    named = []
    for injection in injections:
        named += [(prompt, Cell(prompt, injection)) for prompt in prompts]
        named.append((WEAK, Cell(weak.prompt, replace(injection, strength=weak.fraction * injection.strength))))
    return named
