"""`params.yaml` as typed settings, validated as a whole before any model is loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from introspection.names import check_concepts
from introspection.settings.adapters import AdapterSettings
from introspection.settings.organisms import OrganismsSettings
from introspection.settings.packages import PackageSettings

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
Fraction = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=1)]
Block = Annotated[int, Field(strict=True, ge=0)]
Text = Annotated[str, Field(strict=True, min_length=1)]
FillerLength = Literal["matched", "original"]
Memory = Annotated[str, Field(strict=True, pattern=r"^\d+(\.\d+)? ?[KMG]i?B$")]  # as accelerate writes it: 20GiB


class SettingsError(ValueError):
    """The parameter file is wrong; the message names the file, the key, what was found and what is allowed."""


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
    """Which models and concepts the pipeline runs, and the seed of its random directions."""

    models: tuple[Text, ...] = Field(min_length=1)
    concepts: tuple[Text, ...] = Field(min_length=1)
    random_directions: Annotated[int, Field(strict=True, ge=0)]
    seed: Annotated[int, Field(strict=True, ge=0)]

    _models = field_validator("models")(_distinct)
    _concepts = field_validator("concepts")(_concept_names)


class DataSettings(_Section):
    """Where the suffixes and the contrast prompts come from; a path of the user's own wins over `source`."""

    source: Literal["builtin", "original"]
    suffixes: Text | None = None
    contrast_prompts: Text | None = None


class OfNorm(_Section):
    """A strength as a fraction of the mean norm of the residual stream over the model's layers."""

    of_norm: Positive


def _strength(value: Any, validate: Any) -> Any:
    try:
        return validate(value)
    except ValidationError as error:
        raise ValueError(
            "allowed: a finite number, {of_norm: FRACTION} with a fraction above 0, or calibrated"
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
    """How many tokens go through a model at once; results do not depend on it but for rounding.

    None takes what the memory of the accelerator holds, and a fixed number on a machine without one.
    """

    tokens_per_batch: Count | None


class KeepSettings(_Section):
    """Which share of its unsteered value each of these must keep (columns of dose.csv, means over concepts)."""

    control_accuracy: Fraction
    answer_mass: Fraction
    distinct: Fraction


class DoseSettings(_Section):
    """At which fractions of the residual norm a dose is tried, on what, and the rule for the one that is calibrated.

    questions: how many control questions of each right answer, the first ones; None takes all.
    """

    fractions: tuple[Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)], ...] = Field(min_length=2)
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


class LensSettings(_Section):
    """The last scenario of the logit lens steers at this fraction of the strength, under this prompt."""

    weak_fraction: Fraction
    weak_prompt: Text


class ContentSettings(_Section):
    """How many of the most boosted tokens are listed."""

    boosted_tokens: Count


class SamplesSettings(_Section):
    """Replies to the top-of-mind question: greedy at temperature 0, otherwise sampled with the study's seed."""

    max_new_tokens: Count
    temperature: Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]


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


class FiguresSettings(_Section):
    """The look of every figure (seaborn's names; width in inches)."""

    palette: Text
    context: Literal["paper", "notebook", "talk", "poster"]
    font_scale: Positive
    width: Positive


class Settings(_Section):
    """The whole of `params.yaml`."""

    study: StudySettings
    data: DataSettings
    models: dict[Text, ModelSettings] = Field(min_length=1)
    packages: dict[Text, PackageSettings]
    engine: EngineSettings
    dose: DoseSettings
    controls: ControlsSettings
    competence: CompetenceSettings
    lens: LensSettings
    content: ContentSettings
    samples: SamplesSettings
    sweep: SweepSettings
    figures: FiguresSettings
    organisms: OrganismsSettings
    adapters: dict[Text, AdapterSettings]

    @field_validator("packages", "models", "adapters")
    @classmethod
    def _plain_keys(cls, sections: dict[str, BaseModel]) -> dict[str, BaseModel]:
        for key in sections:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", key):
                raise ValueError(f"key {key!r}: use letters, digits, '-' and '_' only (DVC splits names at dots)")
        return sections

    @model_validator(mode="after")
    def _names_are_known(self) -> Settings:
        for key in self.study.models:
            if key not in self.models:
                raise ValueError(f"study.models names {key!r}, which is no key of models: {', '.join(self.models)}")
        bases = ["organism-base", *self.organisms.trained]
        for name, organism in self.organisms.trained.items():
            if organism.base not in bases or organism.base == name:
                raise ValueError(f"organisms.trained.{name}.base: found {organism.base!r}; allowed: {', '.join(bases)}")
        for key, concepts in {"sweep": self.sweep.concepts, "dose": self.dose.concepts}.items():
            for concept in concepts:
                if concept not in self.study.concepts:
                    raise ValueError(
                        f"{key}.concepts names {concept!r}, which is not one of study.concepts: "
                        + ", ".join(self.study.concepts)
                    )
        if self.dose.random_directions > self.study.random_directions:
            raise ValueError(
                f"dose.random_directions: found {self.dose.random_directions}; allowed: at most as many as "
                f"study.random_directions, {self.study.random_directions}"
            )
        return self

    def organism_of(self, key: str) -> str | None:
        """Which organism a model of the study is, a key of `organisms.trained`; None where it is none."""
        source = Path(self.models[key].source)
        return source.name if source.name in self.organisms.trained and source == Path("models") / source.name else None


def load_settings(path: Path) -> Settings:
    """Read and validate the parameter file, the layer ranges of models that lie in local folders included.

    Raises SettingsError, a line for each thing that is wrong.
    """
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from error
    except YAMLError as error:
        raise SettingsError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: found {values!r}; allowed: a mapping of settings")
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        lines = (_describe(dict(detail)) for detail in error.errors(include_url=False))
        raise SettingsError("\n".join(f"{path}: {line}" for line in lines)) from error
    for key, model in settings.models.items():
        blocks = local_block_count(Path(model.source))
        if blocks is not None:
            check_layers(model.layers, blocks, f"{path}: models.{key}.layers")
    return settings


def check_layers(layers: tuple[int, int], blocks: int, where: str) -> None:
    """Raise SettingsError unless the inclusive range lies in a model of `blocks` decoder blocks."""
    if layers[1] >= blocks:
        raise SettingsError(
            f"{where}: found {list(layers)}; allowed: 1 <= first <= last <= {blocks - 1}, "
            f"since the model has {blocks} blocks"
        )


def local_block_count(folder: Path) -> int | None:
    """The number of decoder blocks of a model saved in `folder`, or None where there is no readable config there."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    config = config.get("text_config", config)
    count = config.get("num_hidden_layers", config.get("n_layer"))
    return count if isinstance(count, int) else None


def _describe(detail: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key; allowed: {', '.join(_siblings(detail['loc']))}"
    if detail["type"] == "missing":
        return f"{key}: missing; give it a value"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["loc"] and not isinstance(detail["input"], dict):
        return f"{key}: found {detail['input']!r}; {message[0].lower()}{message[1:]}"
    return f"{key}: {message}" if key else message


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed beside an unknown one, found by walking the settings' own types."""
    section: Any = Settings
    for part in location[:-1]:
        fields = getattr(section, "model_fields", {})
        if part in fields:
            section = _section_of(fields[part].annotation)
    return list(getattr(section, "model_fields", {}))


def _section_of(annotation: Any) -> Any:
    """The settings class inside `X`, `X | None` or `dict[str, X]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _section_of(argument)
        if found is not None:
            return found
    return None
