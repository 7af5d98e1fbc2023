"""What is read by an executor in its tests, and a driver of a Ray cluster that reads it until it is killed.

    python -m tests.driver MODEL KEPT

A module of its own: of what the tests import a driver needs little.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from introspection.engine.kept import kept_in
from introspection.engine.on_ray import on_ray
from introspection.engine.run import run_trials
from introspection.engine.trial import Directions, Injection, Trial
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel
from introspection.settings import EngineSettings
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Stimuli, load_stimuli
from tests.small_models import load
from tests.small_study import ROOT

BATCH = 1500


def directions_of(model: LanguageModel, seed: int = 3) -> Directions:
    return {name: vector.directions for name, vector in random_vectors(model, 3, seed)}


def trials_of(model: LanguageModel, stimuli: Stimuli) -> list[Trial]:
    """Twelve injections, and four things asked under each."""
    texts = [encode(model.tokenizer, stimuli.detection[key]) for key in ("no_info",)]
    texts += [encode(model.tokenizer, stimuli.control_conversation(question)) for question in stimuli.controls[:3]]
    injections = [Injection(f"random_{n}", s, 1, 3) for n in (1, 2, 3) for s in (0.5, 1.0, 2.0, 4.0)]
    return [Trial(text.token_ids, text.steered, (injection,)) for text in texts for injection in injections]


def states(model: LanguageModel, stimuli: Stimuli, seed: int = 3) -> torch.Tensor:
    trials = trials_of(model, stimuli)
    return run_trials(model, trials, directions_of(model, seed), layers=[2, 5], tokens_per_batch=BATCH)


def settings_of(actors: int | None, **other: object) -> EngineSettings:
    given = {"tokens_per_batch": None, "executor": "ray", "actors": actors, "gpus_per_actor": 1, "address": None}
    return EngineSettings.model_validate(given | other)


def main(base: Path, kept: Path) -> None:
    model = load(base)
    with on_ray(settings_of(1)), kept_in(kept, "driver"):
        while True:  # until it is killed
            states(model, load_stimuli(ROOT / "data" / "prompts"))
            time.sleep(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
