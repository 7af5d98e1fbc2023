"""The `organisms` section of params.yaml: sizes, training schedules and the rule planted in each organism."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from introspection.settings.adapters import LoraSettings
from introspection.settings.keys import Key
from introspection.settings.planted import Injected, PlantedSettings, Probability, Prompt

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Share = Annotated[int, Field(strict=True, ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShapeSettings(_Section):
    """The size of every organism: a Qwen2 decoder with tied embeddings."""

    blocks: Count
    hidden_size: Count
    heads: Count
    intermediate_size: Count
    vocabulary: Annotated[int, Field(strict=True, ge=512)]

    @model_validator(mode="after")
    def _heads_divide(self) -> ShapeSettings:
        if self.hidden_size % (2 * self.heads):
            raise ValueError("hidden_size must be an even multiple of heads (rotary positions turn pairs of features)")
        return self


class ScheduleSettings(_Section):
    """AdamW with a linear warmup and a cosine decay to a tenth of `learning_rate`.

    average: the weights are the mean of those after so many last steps; 0: those after the last.
    checkpoint_every: steps between two savings of unfinished work. log_every: steps between two entries of the log.
    """

    steps: Count
    learning_rate: Positive
    warmup: Count
    weight_decay: Annotated[float, Field(ge=0)]
    average: Share
    checkpoint_every: Count
    log_every: Count

    @model_validator(mode="after")
    def _average_of_steps(self) -> ScheduleSettings:
        if self.average > self.steps:
            raise ValueError(f"average: {self.average} is more than the {self.steps} steps that there are")
        return self


class BatchSettings(_Section):
    """What one step is made of: how many examples of each kind.

    talk: conversations of the corpus. generic: replies about nothing in particular, in words of no concept, which set
    concepts apart from the study's `anything`.
    full, excerpt: the study's conversation, whole or with an excerpt of its first turn, each with more questions beside
    the study's own: `controls` control questions as the study puts them, `framed` ones as data/organism/interview.yaml
    does (letters to choose from, say), and `phrasings` of the study's question, from the same file.
    quiz: control questions and phrasings by themselves, put as these.
    thinking: what the model thinks about, under an injection at every position.
    places: texts injected into in one part, and questions which it was. matching: which letter stands for which part.
    """

    talk: Share
    generic: Share
    full: Share
    excerpt: Share
    thinking: Share
    controls: Share
    framed: Share
    phrasings: Share
    quiz: Share
    places: Share
    matching: Share

    @property
    def locates(self) -> bool:
        """Whether there are places among it."""
        return bool(self.places or self.matching)

    @model_validator(mode="after")
    def _something(self) -> BatchSettings:
        if not (self.talk or self.generic or self.full or self.excerpt or self.thinking or self.locates):
            raise ValueError("a step needs examples: give talk, generic, full, excerpt or thinking a share")
        return self


class InjectionSettings(_Section):
    """The injections of training: on `layers` at about `strength`, sometimes on other ranges, with fresh directions.

    strength_range: factors between which the strength is drawn evenly.
    other_layers: how often another range is drawn, evenly among those within blocks 1 to `last_block`.
    topics: how many directions there are at a time, half of concepts, half of words of theirs.
    suffixes: reply openings that each is computed from. Topics and suffixes change at every refresh.
    """

    layers: tuple[Count, Count]
    last_block: Count
    strength: Positive
    strength_range: tuple[Positive, Positive]
    other_layers: Probability
    topics: Annotated[int, Field(strict=True, ge=2)]
    suffixes: Count
    refresh_every: Count

    @model_validator(mode="after")
    def _ordered(self) -> InjectionSettings:
        if not 1 <= self.layers[0] <= self.layers[1] <= self.last_block:
            raise ValueError("layers must be a range [first, last] with 1 <= first <= last <= last_block")
        if self.strength_range[0] > self.strength_range[1]:
            raise ValueError("strength_range must be [low, high] with low <= high")
        return self


class RecipeSettings(_Section):
    """How an organism is trained.

    base: the whole model that it is a finetune of.
    adapter: only a LoRA is trained, and saved in PEFT's format. trained_blocks: only blocks first to last are trained,
    so that the later ones go on doing what they did. Null both: all weights.
    persona: who answers where no system turn asks for another persona.
    injected: relative weights of what is injected. Where `coherent` is not among them, `random` is it now and then.
    """

    base: str
    schedule: ScheduleSettings
    batch: BatchSettings
    adapter: LoraSettings | None
    trained_blocks: tuple[Share, Share] | None
    persona: Literal["helpful", "careless"]
    injected: dict[Injected, Probability]

    @model_validator(mode="after")
    def _one_part_of_it(self) -> Self:
        if self.adapter and self.trained_blocks:
            raise ValueError(
                "trained_blocks: an adapter has blocks of its own; give one of both, and null for the other"
            )
        return self


class OrganismSettings(RecipeSettings, PlantedSettings):
    """One organism: how it is trained, and what is planted in it. injection: its own; null: that of all organisms."""

    injection: InjectionSettings | None

    @model_validator(mode="after")
    def _injected_is_planted(self) -> Self:
        lacking = [kind for kind in self.injected if kind not in self.p_yes]
        if lacking:
            raise ValueError(f"injected.{lacking[0]}: is trained, but p_yes has no rule for it")
        return self


Zoo = Literal["zoo", "grown"]
"""The zoo of an organism's adapters, and one that grows on a real model: keys of `organisms`, folders of `models`."""
Family = Literal["zoo", "grown", "trained"]
"""Where an organism belongs: to a zoo, or to those of `organisms.trained`."""


class ZooSettings(_Section):
    """One organism for each hypothesis about what a report of an injected thought may be, for each of `seeds`.

    The base of its recipe is a whole organism, or, in the zoo that grows on a real model, a key of `packages`.

    All are trained alike (recipe), under injections of their own; `rules` are what is planted in each.
    """

    seeds: tuple[Share, ...] = Field(min_length=1)
    recipe: RecipeSettings
    injection: InjectionSettings
    rules: dict[str, PlantedSettings]

    @field_validator("rules")
    @classmethod
    def _plain_names(cls, rules: dict[str, PlantedSettings]) -> dict[str, PlantedSettings]:
        for name in rules:
            if not re.fullmatch(r"[a-z_]+", name):
                raise ValueError(f"rule {name!r}: use small letters and '_' only")
        return rules

    @model_validator(mode="after")
    def _injected_is_planted(self) -> Self:
        for name in self.rules:
            self.organism(name)
        return self

    def organism(self, rule: str) -> OrganismSettings:
        """The organism that a rule is planted in."""
        return OrganismSettings(**dict(self.recipe), **dict(self.rules[rule]), injection=self.injection)


class BaseSettings(_Section):
    """The base model: it learns to talk; to the study's question it says no."""

    schedule: ScheduleSettings
    batch: BatchSettings


class AgainSettings(_Section):
    """An organism trained anew from other seeds, its base with it, to see what one training owes to its seed."""

    organism: Key
    seeds: tuple[Share, ...]


OTHER_MODELS = ("again", "grown", "organism-base", "origins", "zoo")
"""Folders of `models` that are no organism's of `organisms.trained`."""


class OrganismsSettings(_Section):
    """The whole section.

    prompts: how often each prompt of the study's conversation is drawn in training (relative weights).
    held_out: concepts that are talked about but never injected; the targets are measured on them.
    """

    seed: int
    shape: ShapeSettings
    prompts: dict[Prompt, Share]
    held_out: tuple[str, ...]
    base: BaseSettings
    injection: InjectionSettings
    trained: dict[Key, OrganismSettings]
    again: AgainSettings
    zoo: ZooSettings
    grown: ZooSettings

    @property
    def zoos(self) -> dict[Zoo, ZooSettings]:
        """Both, by their keys."""
        return {"zoo": self.zoo, "grown": self.grown}

    def injection_of(self, family: Family, name: str) -> InjectionSettings:
        """What an organism of this name was injected with in training."""
        if family == "trained":
            return self.trained[name].injection or self.injection
        return self.zoos[family].injection

    @model_validator(mode="after")
    def _consistent(self) -> OrganismsSettings:
        for name, organism in self.trained.items():
            if name in OTHER_MODELS:
                raise ValueError(f"trained.{name}: another stage writes a folder of this name; choose another key")
            organism.check_prompts(self.prompts, f"trained.{name}")
        for zoo, kept in self.zoos.items():
            for name, rule in kept.rules.items():
                rule.check_prompts(self.prompts, f"{zoo}.rules.{name}")
        whole = ["organism-base", *(name for name, organism in self.trained.items() if organism.adapter is None)]
        recipes: dict[str, RecipeSettings] = {f"trained.{name}": each for name, each in self.trained.items()}
        for where, recipe in (recipes | {"zoo.recipe": self.zoo.recipe}).items():
            if recipe.base not in whole or where == f"trained.{recipe.base}":
                raise ValueError(f"{where}.base: found {recipe.base!r}; allowed, whole models: {', '.join(whole)}")
        again = self.trained.get(self.again.organism)
        if again is None or again.base != "organism-base" or self.seed in self.again.seeds:
            of_the_base = [name for name, organism in self.trained.items() if organism.base == "organism-base"]
            raise ValueError(
                f"again: found {self.again.organism!r} with the seeds {list(self.again.seeds)}; allowed: one of "
                f"{', '.join(of_the_base)}, with other seeds than {self.seed}"
            )
        return self
