"""What every experiment is given: a model, what is asked of it, and what is injected into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from introspection import names
from introspection.engine.cache import Prefill
from introspection.engine.trial import Directions, Trial
from introspection.files import PREFILLS, read_json
from introspection.injection.dose import (
    QUESTIONS,
    REPLIES,
    SWEEP,
    Calibration,
    ChosenRange,
    Dose,
    Doses,
    SweepDose,
    doses,
)
from introspection.injection.prefills import load_prefills
from introspection.injection.vectors import load_vector
from introspection.model.language_model import LanguageModel
from introspection.model.loading import load_config, load_model, load_tokenizer
from introspection.model.placement import without_weights
from introspection.settings import ModelSettings, Settings
from introspection.stimuli.prompts import Stimuli

Outputs = Mapping[str, Any]
"""By the name of a result file, the table that it holds (`Table.of`) or, for JSON, the value."""


@dataclass(frozen=True)
class Run:
    """Rows that go through the model in one run of the engine.

    depths: at how many depths the state at the last token is unembedded. new_tokens: how many tokens are generated
    after each row; 0 where a row is read and nothing more.
    """

    trials: Sequence[Trial]
    depths: int = 1
    new_tokens: int = 0


@dataclass(frozen=True)
class Subject:
    """A model under study. What lies in result files (`folder`) is read when an experiment asks for it.

    model: has no weights until `loaded` gives them. model_settings: how it is loaded, at the commit that was found.
    """

    key: str
    settings: Settings
    model_settings: ModelSettings
    stimuli: Stimuli
    folder: Path
    model: LanguageModel

    def loaded(self) -> Subject:
        """The same with weights in memory."""
        return replace(self, model=load_model(self.model_settings))

    @cached_property
    def questions(self) -> Dose:
        """How vectors are injected before a question."""
        return read_json(self.folder / QUESTIONS, Dose, self._remedy("injection"))

    @cached_property
    def replies(self) -> Dose:
        """How vectors are injected while the model replies freely."""
        return read_json(self.folder / REPLIES, Dose, self._remedy("injection"))

    @cached_property
    def sweep(self) -> SweepDose:
        """How strongly vectors are injected in every range of the sweep, and what guides it."""
        return read_json(self.folder / SWEEP, SweepDose, self._remedy("injection"))

    @cached_property
    def chosen_layers(self) -> tuple[int, int]:
        """The range that the sweep has chosen."""
        chosen = read_json(self.folder / "range.json", ChosenRange, self._remedy("choose-range"))
        return chosen.first_layer, chosen.last_layer

    @property
    def concepts(self) -> Sequence[str]:
        """The study's concepts."""
        return self.settings.study.concepts

    @property
    def vectors(self) -> list[str]:
        """All that is injected, in the order of every table."""
        has_finetune = self.questions.persona_strength is not None
        return names.vector_names(self.concepts, self.settings.study.random_directions, has_finetune)

    def directions(self, vectors: Sequence[str]) -> Directions:
        """The directions of vectors that the stage `vectors` wrote, by name and block."""
        folder = self.folder / "vectors"
        return {name: load_vector(folder / names.file_name(name)).directions for name in dict.fromkeys(vectors)}

    @cached_property
    def prefills(self) -> dict[str, Prefill]:
        """Turn 1 of every prompt as the finetune read it, by prompt; empty where there is no finetune."""
        return load_prefills(PREFILLS / f"{self.key}.safetensors")

    @property
    def tokens_per_batch(self) -> int | None:
        """How many tokens go through the model at once; None where its memory says."""
        return self.settings.engine.tokens_per_batch

    def _remedy(self, stage: str) -> str:
        return f"make it with `dvc repro {stage}@{self.key}`"


class PlannedSubject(Subject):
    """A subject before anything of it has been made: its doses are those of the settings.

    A strength by rule is some number there: nothing that is planned depends on how large it is.
    """

    @cached_property
    def _doses(self) -> Doses:
        return doses(self.model_settings, self.settings.sweep, Calibration(self.key, norm=1.0, fraction=1.0))

    @cached_property
    def questions(self) -> Dose:
        """As the settings have it."""
        return self._doses.questions

    @cached_property
    def replies(self) -> Dose:
        """As the settings have it."""
        return self._doses.replies

    @cached_property
    def sweep(self) -> SweepDose:
        """As the settings have it."""
        return self._doses.sweep

    @cached_property
    def chosen_layers(self) -> tuple[int, int]:
        """Some range: its place is not known, and its cost is about that of the model's own."""
        return self.questions.layers


def open_subject(
    settings: Settings, key: str, own: ModelSettings, stimuli: Stimuli, folder: Path, kind: type[Subject] = Subject
) -> Subject:
    """A subject whose model has a tokenizer and a shape, and no weights. Raises ModelError as loading does."""
    model = LanguageModel(without_weights(load_config(own)), load_tokenizer(own))
    return kind(key, settings, own, stimuli, folder, model)
