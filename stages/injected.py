"""What the stages that inject vectors read: the prompts, the vectors, and turn 1 as the finetune read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common import RESULTS, read_stimuli, vector_names

from introspection.engine.cache import Prefill
from introspection.engine.trial import Injection
from introspection.experiments.detection.measure import study_injections
from introspection.injection.finetune import load_prefills
from introspection.injection.vectors import load_vector
from introspection.settings import ModelSettings, Settings
from introspection.stimuli.prompts import Stimuli


@dataclass(frozen=True)
class Injected:
    """The study's prompts, all injections of a model in the order of every table, and their directions by name."""

    stimuli: Stimuli
    injections: list[Injection]
    directions: dict[str, Any]


def read_injected(
    settings: Settings, model: str, model_settings: ModelSettings, layers: tuple[int, int] | None = None
) -> Injected:
    """What the experiments start from; injected in `layers` instead of the model's own where they are given."""
    names = vector_names(settings, model_settings)
    injections = study_injections(model_settings, names, layers)
    return Injected(read_stimuli(), injections, read_directions(model, names))


def read_directions(model: str, names: list[str]) -> dict[str, Any]:
    """The directions of vectors that the stage `vectors` wrote, by name and block."""
    return {name: load_vector(RESULTS / model / "vectors" / f"{name}.gguf").directions for name in names}


def read_prefills(model: str) -> dict[str, Prefill]:
    """Turn 1 of every prompt as the finetune read it, by prompt; empty where there is no finetune."""
    return load_prefills(RESULTS / model / "finetune_turn_1.safetensors")
