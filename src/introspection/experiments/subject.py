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
from introspection.files import PREFILLS, SUFFIXES, ResultError, read_json
from introspection.injection.cells import Cell, cell_trials, encode_all
from introspection.injection.derived import companions
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
from introspection.sources.datasets import read_suffixes
from introspection.stimuli.prompts import Conversation, Stimuli


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
    given_suffixes: what vectors are trained on, where that is not read from the file that was brought.
    """

    key: str
    settings: Settings
    model_settings: ModelSettings
    stimuli: Stimuli
    folder: Path
    model: LanguageModel
    given_suffixes: Sequence[str] | None = None

    def loaded(self) -> Subject:
        """The same with weights in memory."""
        return replace(self, model=load_model(self.model_settings))

    @cached_property
    def questions(self) -> Dose:
        """How vectors are injected before a question."""
        return self._dose(QUESTIONS)

    @cached_property
    def replies(self) -> Dose:
        """How vectors are injected while the model replies freely."""
        return self._dose(REPLIES)

    @cached_property
    def sweep(self) -> SweepDose:
        """How strongly vectors are injected in every range of the sweep, and what guides it."""
        return read_json(self.folder / SWEEP, SweepDose, self._remedy("injection"))

    @cached_property
    def chosen_layers(self) -> tuple[int, int]:
        """The range that the sweep has chosen."""
        path = self.folder / "range.json"
        chosen = read_json(path, ChosenRange, self._remedy("choose-range"))
        self._check_within(path, chosen.first_layer, chosen.last_layer, "choose-range")
        return chosen.first_layer, chosen.last_layer

    def _dose(self, name: str) -> Dose:
        dose = read_json(self.folder / name, Dose, self._remedy("injection"))
        self._check_within(self.folder / name, *dose.layers, "injection")
        return dose

    def _check_within(self, path: Path, first: int, last: int, stage: str) -> None:
        blocks = len(self.model.blocks)
        if not 1 <= first <= last < blocks:
            raise ResultError(
                f"{path}: the range [{first}, {last}] is not in the model, which has the blocks 1 to {blocks - 1}; "
                f"{self._remedy(stage)}"
            )

    @property
    def concepts(self) -> Sequence[str]:
        """The study's concepts."""
        return self.settings.study.concepts

    @property
    def vectors(self) -> list[str]:
        """All that every experiment injects, in the order of every table."""
        has_finetune = self.questions.persona_strength is not None
        return names.vector_names(self.concepts, self.settings.study.random_directions, has_finetune)

    @property
    def detected(self) -> list[str]:
        """The vectors, and what tells a concept from what concepts share."""
        return [*self.vectors, *self.companions]

    @property
    def companions(self) -> list[str]:
        """What is injected beside the vectors where the question is what concepts' vectors share."""
        return names.companion_names(self.concepts, self.settings.study.random_directions)

    def directions(self, vectors: Sequence[str]) -> Directions:
        """The directions of vectors, by name and block: what the stage `vectors` wrote, companions made of that."""
        beside = [name for name in dict.fromkeys(vectors) if names.kind_of(name) in names.COMPANIONS]
        own = [name for name in dict.fromkeys(vectors) if name not in beside]
        read = {name: self._trained(name) for name in dict.fromkeys([*own, *(self.concepts if beside else ())])}
        if not beside:
            return read
        study = self.settings.study
        made = companions({name: read[name] for name in self.concepts}, study.random_directions, study.seed)
        return {name: read[name] for name in own} | {name: made[name] for name in beside}

    def _trained(self, vector: str) -> Mapping[int, Any]:
        path = self.folder / "vectors" / names.file_name(vector)
        directions: Mapping[int, Any] = load_vector(path).directions
        found, wanted = (len(directions) + 1, len(directions[1])), (len(self.model.blocks), self.model.hidden_size)
        if found != wanted:
            raise ResultError(
                f"{path}: is of a model of {found[0]} blocks of width {found[1]}, and this one has {wanted[0]} of "
                f"{wanted[1]}; {self._remedy('vectors')}"
            )
        return directions

    @cached_property
    def suffixes(self) -> Sequence[str]:
        """The beginnings of replies that concept vectors are trained on."""
        return read_suffixes(SUFFIXES) if self.given_suffixes is None else self.given_suffixes

    @cached_property
    def prefills(self) -> dict[str, Prefill]:
        """Turn 1 of every prompt as the finetune read it, by prompt; empty where there is no finetune."""
        return load_prefills(PREFILLS / f"{self.key}.safetensors")

    def run(self, conversations: Mapping[str, Conversation], cells: Sequence[Cell], depths: int = 1) -> Run:
        """The rows of `run_cells`: every conversation with nothing injected, then every cell with an injection."""
        return Run(cell_trials(encode_all(self.model.tokenizer, conversations), cells), depths)

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
    settings: Settings,
    key: str,
    model_settings: ModelSettings,
    stimuli: Stimuli,
    folder: Path,
    kind: type[Subject] = Subject,
) -> Subject:
    """A subject whose model has a tokenizer and a shape, and no weights. Raises ModelError as loading does."""
    model = LanguageModel(without_weights(load_config(model_settings)), load_tokenizer(model_settings))
    return kind(key, settings, model_settings, stimuli, folder, model)
