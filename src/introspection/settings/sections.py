"""The sections of `params.yaml` as types: what each key means and what is allowed."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator, field_validator, model_validator

from introspection.names import Kind, check_concepts
from introspection.settings.adapters import AdapterSettings
from introspection.settings.keys import Key
from introspection.settings.organisms import OTHER_MODELS, Family, OrganismsSettings
from introspection.settings.packages import PackageSettings

Number = Annotated[float, Field(strict=True, ge=-1e9, le=1e9)]  # beyond, squares are no float32 any more
Positive = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
Multiple = Annotated[float, Field(strict=True, gt=0, le=1e3)]  # of a norm or a strength: beyond, no state is left
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]  # as far as every library takes one
Fraction = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=1)]
Block = Annotated[int, Field(strict=True, ge=0)]
Text = Annotated[str, Field(strict=True, min_length=1)]
FillerLength = Literal["matched", "original"]
SignRule = Literal["majority", "mean"]
"""Where a direction points: to where most pairs' positive states lie, or to where their mean lies."""
Memory = Annotated[str, Field(strict=True, pattern=r"^\d+(\.\d+)? ?[KMG]i?B$")]  # as accelerate writes it: 20GiB


class _Section(BaseModel):
    """No value that changes a number has a default: what is not written in the file, DVC cannot see change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"listed twice: {', '.join(repeated)}; name each once")
    return values


def _concept_names(values: tuple[str, ...]) -> tuple[str, ...]:
    check_concepts(values)
    return values


class StudySettings(_Section):
    """Which models and concepts the pipeline runs, the seed of its random directions, and the sign of all others."""

    models: tuple[Key, ...] = Field(min_length=1)
    concepts: tuple[Text, ...] = Field(min_length=1)
    random_directions: Annotated[int, Field(strict=True, ge=0)]
    seed: Seed
    sign: SignRule

    _models = field_validator("models")(_distinct)
    _concepts = field_validator("concepts")(_concept_names)


class DataSettings(_Section):
    """Where the suffixes and the contrast prompts come from; a path of the user's own wins over `source`."""

    source: Literal["builtin", "original"]
    suffixes: Text | None = None
    contrast_prompts: Text | None = None


class OfNorm(_Section):
    """A strength as a fraction of the mean norm of the residual stream over the model's layers."""

    of_norm: Multiple


def _strength(value: Any, validate: Any) -> Any:
    try:
        return validate(value)
    except ValidationError as error:
        raise ValueError(
            "allowed: a finite number up to 1e9, {of_norm: FRACTION} above 0 and up to 1000, or calibrated"
        ) from error


Strength = Annotated[Number | OfNorm | Literal["calibrated"], WrapValidator(_strength)]
"""What a unit direction is multiplied with: a number, or a rule for one (`injection.dose`)."""


class ContrastSettings(_Section):
    """A finetune of the model: the persona vector is its activations minus the model's.

    source: a whole model. adapter: a LoRA adapter in PEFT's format, a folder or a hub id, in its place: then the model
    is in memory once, and the adapter is switched on where the finetune reads.
    """

    source: Text | None = None
    adapter: Text | None = None
    revision: Text | None = None
    strength: Strength
    sample_strength: Strength | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> ContrastSettings:
        if (self.source is None) == (self.adapter is None):
            raise ValueError("give either source, a whole model, or adapter, a change of this very model")
        return self

    @property
    def place(self) -> str:
        """The folder or hub id of the finetune, a whole model or an adapter."""
        return self.source or self.adapter or ""

    @property
    def samples_at(self) -> Strength:
        """The strength for replies, which the study chose apart from the one for detection."""
        return self.strength if self.sample_strength is None else self.sample_strength


class ModelSettings(_Section):
    """A model, how to load it, and the injection that suits the size of its residual stream.

    filler: whether the filler prompt is cut or continued to the info prompt's length in the model's tokens.
    max_memory: how much of each accelerator (by number) and of the host (cpu) weights may take; what is left over stays
    on disk and is read once per batch.
    """

    source: Text
    revision: Text | None = None
    dtype: Literal["float32", "bfloat16", "float16"]
    device_map: Text | None = None
    max_memory: dict[Annotated[int, Field(ge=0)] | Literal["cpu"], Memory] | None = None
    quantization: Literal["8bit", "4bit"] | None = None
    layers: tuple[Block, Block]
    strength: Strength
    filler: FillerLength
    contrast: ContrastSettings | None = None

    def finetune(self) -> ModelSettings:
        """How to load the model's finetune. Raises ValueError where `contrast` names no whole model."""
        if self.contrast is None or self.contrast.source is None:
            raise ValueError(f"{self.source} has no finetune that is a whole model: see its `contrast` in params.yaml")
        return self.model_copy(update={"source": self.contrast.source, "revision": self.contrast.revision})

    @field_validator("layers")
    @classmethod
    def _ordered(cls, layers: tuple[int, int]) -> tuple[int, int]:
        first, last = layers
        if not 1 <= first <= last:
            raise ValueError("a range [first, last] of decoder blocks with 1 <= first <= last (block 0 has no vector)")
        return layers


class EngineSettings(_Section):
    """How many tokens go through a model at once, and where; results do not depend on it but for rounding.

    tokens_per_batch: None takes what the memory of the accelerator holds, and a fixed number on a machine without one.
    executor: this process, or actors of a Ray cluster, each of which holds the model. actors: how many; None takes one
    for each `gpus_per_actor` GPUs of the cluster, and without a GPU one for each machine. address: of the cluster; None
    takes what the variable RAY_ADDRESS names, or this machine alone.
    """

    tokens_per_batch: Count | None
    executor: Literal["local", "ray"]
    actors: Count | None
    gpus_per_actor: Count
    address: Text | None


class KeepSettings(_Section):
    """Which share of its unsteered value each of these must keep (columns of dose.csv, means over concepts)."""

    control_accuracy: Fraction
    answer_mass: Fraction
    distinct: Fraction


class DoseSettings(_Section):
    """At which fractions of the residual norm a dose is tried, on what, and the rule for the one that is calibrated.

    questions: how many control questions of each right answer, the first ones; None takes all.
    """

    fractions: tuple[Annotated[float, Field(strict=True, ge=0, le=1e3)], ...] = Field(min_length=2)
    concepts: tuple[Text, ...] = Field(min_length=1)
    random_directions: Annotated[int, Field(strict=True, ge=0)]
    questions: Count | None
    keep: KeepSettings
    kl_at_most: Positive

    _concepts = field_validator("concepts")(_distinct)

    @field_validator("fractions")
    @classmethod
    def _from_nothing_up(cls, fractions: tuple[float, ...]) -> tuple[float, ...]:
        if fractions[0] != 0 or list(fractions) != sorted(set(fractions)):
            raise ValueError("allowed: rising fractions of the residual norm of which the first is 0, nothing injected")
        return fractions


class ControlsSettings(_Section):
    """Questions that the unsteered model answers yes with more than this probability are left out of the mean."""

    exclude_above: Fraction


class CompetenceSettings(_Section):
    """A model can answer where its unsteered answers to the control questions reach both thresholds.

    accuracy_at_least: of the accuracy, the mean of the one over questions to be answered yes and the one over those to
    be answered no. answer_mass_at_least: of the mean of p(yes) + p(no). confidence: of the Wilson intervals.
    """

    accuracy_at_least: Fraction
    answer_mass_at_least: Fraction
    confidence: Annotated[float, Field(strict=True, gt=0, lt=1)]


class BatterySettings(_Section):
    """The bootstrap over the questions of the battery: how often, with which seed, and of which intervals."""

    resamples: Count
    confidence: Annotated[float, Field(strict=True, gt=0, lt=1)]
    seed: Seed


class SuffixesSettings(_Section):
    """How much an answer hangs on the suffixes: new vectors of two random halves of them, and of bootstrap resamples.

    prompts: under which the vectors of resamples are injected; those of the halves are under all. confidence: of the
    percentile intervals. seed: of the halves and the resamples.
    """

    resamples: Count
    prompts: tuple[Text, ...] = Field(min_length=1)
    confidence: Annotated[float, Field(strict=True, gt=0, lt=1)]
    seed: Seed

    _prompts = field_validator("prompts")(_distinct)


class LensSettings(_Section):
    """The last scenario of the logit lens steers at this fraction of the strength, under this prompt."""

    weak_fraction: Fraction
    weak_prompt: Text


class ContentSettings(_Section):
    """How many of the most boosted tokens are listed: no more than a page of the paper holds."""

    boosted_tokens: Annotated[int, Field(strict=True, ge=1, le=40)]


class EffectSettings(_Section):
    """How directions are matched in effect: the divergence on so many neutral passages, by a search of the strength.

    directions: how many of each kind. strongest: how many times the model's strength is tried at the most, and which
    part of it at the least. steps: of the search. tolerance: how far the divergence may be off, as a share of it.
    """

    directions: Count
    passages: Count
    strongest: Annotated[float, Field(strict=True, gt=1, le=1e3)]
    steps: Count
    tolerance: Positive


class PopulationSettings(_Section):
    """A population of directions: under which prompts, of which kinds, and how many of each kind that is drawn.

    kinds: null: all. concepts: how many of data/concepts.yaml, at even distances; null: all.
    suffixes: how many of the suffixes its concepts' vectors are trained on. seed: of everything drawn, in the bootstrap
    and the permutations too. resamples, permutations: how many. confidence: of the bootstrap's intervals.
    """

    prompts: tuple[Text, ...] = Field(min_length=1)
    kinds: tuple[Kind, ...] | None
    concepts: Annotated[int, Field(strict=True, ge=2)] | None
    directions: Annotated[int, Field(strict=True, ge=2)]
    suffixes: Annotated[int, Field(strict=True, ge=4)]
    seed: Seed
    effect: EffectSettings
    resamples: Count
    permutations: Count
    confidence: Annotated[float, Field(strict=True, gt=0, lt=1)]

    _prompts = field_validator("prompts")(_distinct)


class SamplesSettings(_Section):
    """Replies to the top-of-mind question: greedy at temperature 0, otherwise sampled with the study's seed."""

    max_new_tokens: Count
    temperature: Annotated[float, Field(strict=True, le=100)]

    @field_validator("temperature")
    @classmethod
    def _divides(cls, temperature: float) -> float:
        if temperature != 0 and not temperature >= 0.01:
            raise ValueError("allowed: 0, greedy, or 0.01 to 100, since logits are divided by it")
        return temperature


class SweepSettings(_Section):
    """All layer ranges for these concepts and prompts, or those of a search, and the rule that chooses one.

    The chosen range has the largest yes probability for `choose_concept` under `choose_prompt` among the ranges that
    start no earlier than `earliest_start`, a fraction of the model's depth. mode coarse_to_fine measures a grid of
    ranges and the neighbourhood of its best by that rule.
    """

    mode: Literal["exhaustive", "coarse_to_fine"]
    concepts: tuple[Text, ...] = Field(min_length=1)
    prompts: tuple[Text, ...] = Field(min_length=1)
    choose_concept: Text
    choose_prompt: Text
    earliest_start: Fraction

    _concepts = field_validator("concepts")(_distinct)
    _prompts = field_validator("prompts")(_distinct)

    @model_validator(mode="after")
    def _chosen_are_swept(self) -> SweepSettings:
        if self.choose_concept not in self.concepts:
            raise ValueError(f"choose_concept {self.choose_concept!r} is not among sweep.concepts; add it there")
        if self.choose_prompt not in self.prompts:
            raise ValueError(f"choose_prompt {self.choose_prompt!r} is not among sweep.prompts; add it there")
        return self


VerdictTest = Literal[
    "answers", "unasked", "text", "moved", "leaning", "disturbance", "shared", "rest", "wording", "naming"
]


class VerdictSettings(_Section):
    """The tests of the verdict, in the order in which they are asked, and what it takes to pass each.

    unasked_at_most: probability of yes with nothing injected. moved_at_least: shift of logit(yes) - logit(no), in nats.
    leaning_below: the control questions' shift as a share of the battery's. disturbances: kinds of directions that
    concepts are told from. auc_at_least: the lower end of the interval. centred_at_least, shared_at_least: shares of
    the concepts' median shift. named_at_least: share of concepts. resamples, seed: of the bootstraps.
    """

    order: tuple[VerdictTest, ...] = Field(min_length=1)
    unasked_at_most: Fraction
    moved_at_least: Positive
    leaning_below: Positive
    disturbances: tuple[Kind, ...] = Field(min_length=1)
    auc_at_least: Fraction
    centred_at_least: Fraction
    shared_at_least: Fraction
    named_at_least: Fraction
    resamples: Count
    confidence: Annotated[float, Field(strict=True, gt=0, lt=1)]
    seed: Seed

    _order = field_validator("order")(_distinct)
    _disturbances = field_validator("disturbances")(_distinct)


class CurveSettings(_Section):
    """What an organism on a real model does on the way, measured after every so many steps of its training.

    rules: of which organisms, keys of `organisms.grown.rules`. prompts: under which the study's question and the list
    are asked. suffixes: that vectors are trained on, of all. resamples, confidence: of the bootstrap's intervals, over
    vectors or over orders of a list.
    """

    rules: tuple[Text, ...]
    every: Count
    prompts: Annotated[tuple[Text, ...], Field(min_length=1)]
    suffixes: Annotated[int, Field(strict=True, ge=2)]
    resamples: Count
    confidence: Annotated[float, Field(strict=True, gt=0, lt=1)]
    seed: Seed


class ExaminationSettings(_Section):
    """With how much a model is examined in one process: an organism of the zoo, or any model in a few minutes.

    random_directions: at most so many of the study's.
    """

    random_directions: Count
    suffixes: Annotated[int, Field(strict=True, ge=2)]
    population: PopulationSettings
    battery: BatterySettings


class PlacesSettings(_Section):
    """Strengths and windows of blocks in which concepts are injected, and how much of the battery is asked there.

    windows: how many, of equal length, over all blocks. fractions: of the residual stream's mean norm over a window.
    common: those of them that organisms are given too, and by which models are compared. parts_of_strength: in the
    model's own layers also at these parts of its strength. pairs: of wordings. controls: of control questions of each
    right answer.
    """

    concepts: tuple[Text, ...] = Field(min_length=1)
    windows: Count
    fractions: tuple[Multiple, ...] = Field(min_length=2)
    common: tuple[Multiple, ...] = Field(min_length=1)
    parts_of_strength: tuple[Multiple, ...]
    pairs: Count
    controls: Annotated[int, Field(strict=True, ge=2)]

    @model_validator(mode="after")
    def _common_are_given(self) -> PlacesSettings:
        for fraction in self.common:
            if fraction not in self.fractions:
                known = ", ".join(map(str, self.fractions))
                raise ValueError(f"common: found {fraction}; allowed, those of fractions: {known}")
        return self

    _concepts = field_validator("concepts")(_distinct)


class FramingSettings(_Section):
    """How much of the battery is asked after each frame: pairs of wordings, control questions of each right answer."""

    pairs: Count
    controls: Annotated[int, Field(strict=True, ge=2)]


class WhichSettings(_Section):
    """The concepts of the list, in how many shuffled orders, and how the answers are tested.

    concepts: nine, which with `none` take the ten digits. orders: in multiples of ten, so that each concept has each
    number equally often. permutations: of what was injected. resamples, confidence: of the bootstrap's intervals.
    """

    concepts: tuple[Text, ...] = Field(min_length=9, max_length=9)
    orders: Annotated[int, Field(strict=True, ge=10, multiple_of=10)]
    seed: Seed
    permutations: Count
    resamples: Count
    confidence: Annotated[float, Field(strict=True, gt=0, lt=1)]

    _concepts = field_validator("concepts")(_concept_names)


class ReaderSettings(_Section):
    """What readers of the model's states are trained on and asked of; the concepts are those of `which`.

    passages: neutral passages, one at the end of each turn 1, half of them trained on and half read. random_directions:
    beside the concepts after each. suffixes: of which vectors are made, of one half for each half of the passages. few:
    examples of each class. resamples, confidence: of the intervals over passages. permutations: of what is right.
    """

    passages: Annotated[int, Field(strict=True, ge=4, multiple_of=2)]
    random_directions: Annotated[int, Field(strict=True, ge=0)]
    suffixes: Annotated[int, Field(strict=True, ge=4)]
    few: Count
    seed: Seed
    resamples: Count
    permutations: Count
    confidence: Annotated[float, Field(strict=True, gt=0, lt=1)]


class WhereSettings(_Section):
    """At most so many of the study's random directions, of each kind, beside its concepts; and the statistics.

    resamples: of vectors and texts, for the intervals. permutations: of the places. seed: of both. confidence: of the
    intervals.
    """

    directions: Annotated[int, Field(strict=True, ge=0)]
    resamples: Count
    permutations: Count
    confidence: Annotated[float, Field(strict=True, gt=0, lt=1)]
    seed: Seed


Palette = Literal[
    "colorblind", "deep", "muted", "bright", "pastel", "dark",
    "husl", "hls", "tab10", "Dark2", "Paired", "Set1", "Set2", "Set3", "viridis", "rocket", "mako", "flare", "crest",
]  # fmt: skip


class FiguresSettings(_Section):
    """The look of every figure (seaborn's names; width in inches, as much as a page has)."""

    palette: Palette
    context: Literal["paper", "notebook", "talk", "poster"]
    font_scale: Annotated[float, Field(strict=True, ge=0.5, le=2)]
    width: Annotated[float, Field(strict=True, ge=3, le=6.5)]


OTHER_RESULTS = ("again", "beyond", "confusion", "curves", "grown", "published", "trained", "zoo")
"""Folders of `results` that are no model's."""


class Settings(_Section):
    """The whole of `params.yaml`."""

    study: StudySettings
    data: DataSettings
    models: dict[Key, ModelSettings] = Field(min_length=1)
    packages: dict[Key, PackageSettings]
    engine: EngineSettings
    dose: DoseSettings
    controls: ControlsSettings
    competence: CompetenceSettings
    battery: BatterySettings
    suffixes: SuffixesSettings
    lens: LensSettings
    content: ContentSettings
    population: PopulationSettings
    samples: SamplesSettings
    sweep: SweepSettings
    places: PlacesSettings
    framing: FramingSettings
    where: WhereSettings
    which: WhichSettings
    reader: ReaderSettings
    verdict: VerdictSettings
    zoo: ExaminationSettings
    curve: CurveSettings
    quick: ExaminationSettings
    figures: FiguresSettings
    organisms: OrganismsSettings
    examined: tuple[Key, ...]
    elsewhere: dict[Key, Text]
    adapters: dict[Key, AdapterSettings]

    @model_validator(mode="after")
    def _folders_are_apart(self) -> Settings:
        """No two stages write one folder, below `models` or below `results`."""
        taken = {"models": {*OTHER_RESULTS}, "adapters": {*self.organisms.trained, *OTHER_MODELS}}
        for section, others in taken.items():
            for key in getattr(self, section):
                if key in others:
                    raise ValueError(f"{section}.{key}: another stage writes a folder of this name; choose another key")
        bases = {f"adapters.{key}": adapter.base for key, adapter in self.adapters.items()}
        if self.organisms.grown.rules:
            bases["organisms.grown.recipe"] = self.organisms.grown.recipe.base
        for where, base in bases.items():
            if base not in self.packages:
                known = ", ".join(self.packages)
                raise ValueError(f"{where}.base: found {base!r}; allowed, keys of packages: {known}")
        return self

    @model_validator(mode="after")
    def _names_are_known(self) -> Settings:
        for rule in self.curve.rules:
            if rule not in self.organisms.grown.rules:
                known = ", ".join(self.organisms.grown.rules) or "none"
                raise ValueError(f"curve.rules names {rule!r}; allowed, keys of organisms.grown.rules: {known}")
        for name in self.examined:
            whole = [key for key, organism in self.organisms.trained.items() if organism.adapter is None]
            if name not in whole or self.examined.count(name) > 1:
                raise ValueError(f"examined: found {name!r}; allowed, each once, whole organisms: {', '.join(whole)}")
            if name in self.closely_grown:
                raise ValueError(f"examined: an organism on a real model is called {name!r} too; choose another key")
        for key in self.study.models:
            if key not in self.models:
                raise ValueError(f"study.models names {key!r}, which is no key of models: {', '.join(self.models)}")
        for key in self.elsewhere:
            if key not in self.models or key in self.study.models:
                known = ", ".join(sorted({*self.models} - {*self.study.models}))
                raise ValueError(f"elsewhere.{key}: allowed, keys of models that are not in study.models: {known}")
        for key, concepts in {
            "sweep": self.sweep.concepts,
            "dose": self.dose.concepts,
            "places": self.places.concepts,
        }.items():
            for concept in concepts:
                if concept not in self.study.concepts:
                    raise ValueError(
                        f"{key}.concepts names {concept!r}, which is not one of study.concepts: "
                        + ", ".join(self.study.concepts)
                    )
        judged = {"concept", *self.verdict.disturbances, "shared", "centred"}
        for key, population in {
            "": self.population,
            "zoo.": self.zoo.population,
            "quick.": self.quick.population,
        }.items():
            if population.kinds is not None and (missing := judged - {*population.kinds}):
                raise ValueError(
                    f"{key}population.kinds: {min(missing)} is missing, which the verdict judges by; null is all kinds"
                )
        if self.dose.random_directions > self.study.random_directions:
            raise ValueError(
                f"dose.random_directions: found {self.dose.random_directions}; allowed: at most as many as "
                f"study.random_directions, {self.study.random_directions}"
            )
        return self

    @property
    def reported(self) -> tuple[str, ...]:
        """The models that the paper reports on: those that are run here, then those that were run elsewhere."""
        return (*self.study.models, *self.elsewhere)

    @property
    def closely_grown(self) -> list[str]:
        """The names of the organisms on a real model whose training is followed."""
        return [f"{rule}-{seed}" for rule, seed in product(self.curve.rules, self.organisms.grown.seeds)]

    def member(self, family: Family, source: str) -> ModelSettings:
        """How an organism of a family in the folder `source` is loaded and injected: as it was trained."""
        injection = self.organisms.injection_of(family, Path(source).name)
        return ModelSettings(
            source=source,
            dtype="float32",
            layers=injection.layers,
            strength=injection.strength,
            filler="original",
            contrast=None,
        )

    def organism_of(self, key: str) -> str | None:
        """Which organism a model of the study is, a key of `organisms.trained`; None where it is none."""
        source = Path(self.models[key].source)
        return source.name if source.name in self.organisms.trained and source == Path("models") / source.name else None
