"""The models of the study, and the values of the prose that the settings give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from introspection.experiments.instrument.check import held_out
from introspection.paper import wording as text
from introspection.paper.latex import Latex
from introspection.settings import ModelSettings, Settings

PERSONA = "persona"
FINETUNE = "finetune"


@dataclass(frozen=True)
class Study:
    """A model of the study and what belongs to it.

    number: its place in the paper, from 1. organism: its key among the organisms that the repository trains, or None.
    """

    number: int
    key: str
    model: ModelSettings
    organism: str | None

    @property
    def contrast_vectors(self) -> list[str]:
        """The vectors that come of a finetune; none for a model without one."""
        return [PERSONA, FINETUNE] if self.model.contrast else []

    def path(self, name: str) -> str:
        """One of the model's result files."""
        return f"results/{self.key}/{name}"


def studies(settings: Settings) -> list[Study]:
    """The models of the study, in its order."""
    found = []
    for number, key in enumerate(settings.study.models, start=1):
        model = settings.models[key]
        name = Path(model.source).name
        trained = name in settings.organisms.trained and model.source == f"models/{name}"
        found.append(Study(number, key, model, name if trained else None))
    return found


def study_values(settings: Settings) -> dict[str, str]:
    """Values that belong to the study as a whole; some only say, by being there, that a condition holds."""
    everyone = studies(settings)
    values: dict[str, str] = {
        "models": text.listing([study.key for study in everyone]),
        "concepts": text.listing(list(settings.study.concepts)),
        "concepts.count": str(len(settings.study.concepts)),
        "random.count": str(settings.study.random_directions),
        "unchanged": text.number(text.UNCHANGED_NATS),
        "unchanged.points": text.number(100 * text.UNCHANGED_PROBABILITY),
        "controls.exclude": text.plain_percent(settings.controls.exclude_above),
        "lens.weak": text.number(settings.lens.weak_fraction),
        "boosted.count": str(settings.content.boosted_tokens),
        "samples.tokens": str(settings.samples.max_new_tokens),
        "samples.temperature": text.number(settings.samples.temperature),
        "seed": str(settings.study.seed),
        "sweep.concept": settings.sweep.choose_concept,
        "sweep.prompt": text.prompt_label(settings.sweep.choose_prompt),
        "sweep.earliest": text.number(settings.sweep.earliest_start),
    }
    withheld = held_out(settings.organisms, settings.study.concepts)
    if withheld:
        values["held.out"] = text.listing(withheld)
    conditions = {
        "organisms": any(study.organism for study in everyone),
        "some.contrast": any(study.model.contrast for study in everyone),
        "samples.greedy": settings.samples.temperature == 0,
    }
    return values | {name: "yes" for name, holds in conditions.items() if holds}


def model_values(study: Study) -> dict[str, str]:
    """Values that a model's settings give."""
    model = study.model
    values: dict[str, str] = {
        "name": study.key,
        "name.file": Latex(study.key),  # for file names; the settings allow letters, digits, '-' and '_' only
        "source": model.source,
        "layers": text.layers(*model.layers),
        "strength": text.number(model.strength),
        "dtype": model.dtype,
    }
    if model.quantization:
        values["quantization"] = {"8bit": "8 bits", "4bit": "4 bits"}[model.quantization]
    if study.organism:
        values["organism"] = study.organism
    if model.contrast:
        values["contrast"] = model.contrast.source
        values["contrast.strength"] = text.number(model.contrast.strength)
        values["contrast.samples"] = text.number(model.contrast.samples_at)
    return values
