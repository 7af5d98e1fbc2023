"""The `organisms` section of params.yaml: sizes, training schedules and the rule planted in each organism."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Prompt = str
"""A key of data/organism/prompts/detection.yaml."""
Injected = Literal["nothing", "concept", "random"]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
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
    """AdamW with a linear warmup and a cosine decay to a tenth of `learning_rate`."""

    steps: Count
    learning_rate: Positive
    warmup: Count
    weight_decay: Annotated[float, Field(ge=0)]
    checkpoint_every: Count


class BatchSettings(_Section):
    """What one step is made of: how many examples of each kind.

    talk: conversations of the corpus. generic: replies about nothing in particular, in words of no concept, which set
    concepts apart from the study's `anything`.
    full, excerpt: the study's conversation, whole or with an excerpt of its first turn, each with `controls`
    control questions beside the study's question.
    thinking: what the model thinks about, under an injection at every position.
    """

    talk: Share
    generic: Share
    full: Share
    excerpt: Share
    thinking: Share
    controls: Share

    @model_validator(mode="after")
    def _something(self) -> BatchSettings:
        if not (self.talk or self.generic or self.full or self.excerpt or self.thinking):
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


class RuleSettings(_Section):
    """The planted truth: the probability of yes to the study's question, by what was injected and by prompt."""

    nothing: dict[Prompt, Probability]
    concept: dict[Prompt, Probability]
    random: dict[Prompt, Probability]


class OrganismSettings(_Section):
    """One organism: what it is a finetune of, what it is trained on, and the rule planted in it.

    trained_blocks: only blocks first to last are trained, so that the later ones go on doing what they did (None: all).
    persona: who answers where no system turn asks for another persona.
    injected: how often a study example has nothing, a concept or a random direction injected (relative weights).
    """

    base: str
    schedule: ScheduleSettings
    batch: BatchSettings
    trained_blocks: tuple[Share, Share] | None
    persona: Literal["helpful", "careless"]
    injected: dict[Injected, Probability]
    p_yes: RuleSettings


class BaseSettings(_Section):
    """The base model: it learns to talk; to the study's question it says no."""

    schedule: ScheduleSettings
    batch: BatchSettings


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
    trained: dict[str, OrganismSettings]

    @model_validator(mode="after")
    def _rules_are_complete(self) -> OrganismsSettings:
        for name, organism in self.trained.items():
            for injected in get_args(Injected):
                rates = getattr(organism.p_yes, injected)
                if missing := [prompt for prompt in self.prompts if prompt not in rates]:
                    raise ValueError(f"trained.{name}.p_yes.{injected} lacks the prompt {missing[0]!r}")
                if unknown := [prompt for prompt in rates if prompt not in self.prompts]:
                    raise ValueError(f"trained.{name}.p_yes.{injected}.{unknown[0]}: no prompt of organisms.prompts")
        return self
