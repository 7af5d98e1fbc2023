"""What a study needs before it is run: memory, passes, tokens and time, from configurations alone.

No weight is read. The trials are those that the stages make, and their work is counted by the engine's own planner.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from transformers.utils.hub import cached_file

from introspection.engine.memory import TOKENS_PER_BATCH, batch_bytes, tokens_in
from introspection.engine.trial import Trial
from introspection.engine.work import Work, work_of_batches
from introspection.experiments import experiments_with, load
from introspection.experiments.population.concepts import load_population, spread
from introspection.experiments.population.vectors import training_trials
from introspection.experiments.subject import PlannedSubject, Run, Subject, open_subject
from introspection.injection.cells import encode_all
from introspection.injection.filler import FilledStimuli
from introspection.injection.vectors import concept_trials, text_trials
from introspection.model.language_model import LanguageModel
from introspection.model.placement import room_for_weights, weight_bytes
from introspection.planning.machine import Machine
from introspection.settings import ModelSettings, Settings
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Stimuli

REACHED = 0.5  # of the rate of a plain matrix product: about the middle of what benchmarks/results.md shows
DISK_RATE = 1e9  # bytes a second; to measure it would take longer than the plan


@dataclass(frozen=True)
class Shape:
    """What a model consists of, as counts of weights (of one block where it says so), widths, and bytes."""

    blocks: int
    parameters: int
    weight_bytes: int
    block_weights: int
    perceptron_weights: int  # of one block
    attention_width: int
    key_value_width: int
    unembedding_weights: int


@dataclass(frozen=True)
class Stage:
    """How many trials a stage reads, what the model computes for them, and how many states are unembedded.

    runs: for each run of the engine, what each of its batches computes; a run begins when the one before has ended.
    loads: how often a model is loaded.
    """

    name: str
    trials: int
    runs: tuple[tuple[Work, ...], ...]
    unembedded: int = 0
    loads: int = 1

    @property
    def work(self) -> Work:
        """What all batches compute."""
        return sum((work for run in self.runs for work in run), Work())


@dataclass(frozen=True)
class Placement:
    """Where the weights of a model lie, in bytes on its device, in host memory and on disk; or why it cannot run."""

    device: int = 0
    host: int = 0
    disk: int = 0
    problem: str | None = None


@dataclass(frozen=True)
class ModelPlan:
    """A model of the study on a machine. Memory in bytes.

    batch_memory: of the activations of a whole batch; row_memory: of the longest single row, the least that must fit.
    cache_memory: of the keys and values of all turns 1 that a finetune reads. seconds: of each stage.
    """

    key: str
    shape: Shape
    tokens_per_batch: int
    batch_memory: int
    row_memory: int
    cache_memory: int
    placement: Placement
    stages: tuple[Stage, ...]
    seconds: tuple[float, ...]


def plan_model(
    settings: Settings,
    key: str,
    stimuli: Stimuli,
    suffixes: Sequence[str],
    contrast_prompts: Sequence[str],
    machine: Machine,
) -> ModelPlan:
    """The plan of one model of `params.yaml`, from its configuration and its tokenizer.

    Raises ModelError for a model that is out of reach.
    """
    model_settings = settings.models[key]
    subject = open_subject(settings, key, model_settings, stimuli, Path(), PlannedSubject)
    model = subject.model
    stimuli = FilledStimuli.planned(stimuli, model.tokenizer, model_settings.filler)
    subject = replace(subject, stimuli=stimuli, given_suffixes=suffixes)
    shape = shape_of(model, model_settings)
    texts = [encode(model.tokenizer, conversation) for conversation in stimuli.detection.values()]
    config, dtype = model.text_config, getattr(torch, model_settings.dtype)
    row_memory = batch_bytes(max(len(text.token_ids) for text in texts), config, dtype)
    read_by_finetune = sum(text.steered[1] for text in texts) if model_settings.contrast else 0
    cache_memory = 2 * read_by_finetune * shape.key_value_width * shape.blocks * dtype.itemsize
    flops = machine.flops[model_settings.dtype]
    placement = place_weights(shape.weight_bytes, row_memory, cache_memory, model_settings, machine)
    left = sum(machine.accelerators) - placement.device
    fitting = tokens_in(left, config, dtype) if machine.accelerators else TOKENS_PER_BATCH
    tokens = settings.engine.tokens_per_batch or fitting
    stages = planned_stages(subject, contrast_prompts, tokens)
    return ModelPlan(
        key=key,
        shape=shape,
        tokens_per_batch=tokens,
        batch_memory=max(batch_bytes(tokens, config, dtype), row_memory),
        row_memory=row_memory,
        cache_memory=cache_memory,
        placement=placement,
        stages=tuple(stages),
        seconds=tuple(_seconds(stage, shape, placement, machine, flops) for stage in stages),
    )


def shape_of(model: LanguageModel, settings: ModelSettings) -> Shape:
    """The numbers of weights that a token meets, from a model that need have no memory."""
    config, block = model.text_config, model.blocks[0]
    heads = int(config.num_attention_heads)
    head_size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    perceptron = getattr(block, "mlp", None)
    return Shape(
        blocks=len(model.blocks),
        parameters=sum(weight.numel() for weight in model.model.parameters()),
        weight_bytes=weight_bytes(model.model, settings),
        block_weights=_matrices(block),
        perceptron_weights=_matrices(perceptron) if isinstance(perceptron, nn.Module) else 0,
        attention_width=heads * head_size,
        key_value_width=int(getattr(config, "num_key_value_heads", None) or heads) * head_size,
        unembedding_weights=_matrices(model.unembedding),
    )


def planned_stages(subject: Subject, contrast_prompts: Sequence[str], tokens_per_batch: int) -> list[Stage]:
    """What each stage computes for a model, from the very rows that it will run."""
    tokenizer, stimuli = subject.model.tokenizer, subject.stimuli
    blocks = len(subject.model.blocks)
    sides = [*subject.concepts, stimuli.anything]
    vectors = [Run(concept_trials(tokenizer, stimuli, side, subject.suffixes), depths=0) for side in sides]
    stages = [_stage("vectors", vectors, blocks, tokens_per_batch)]
    if subject.model_settings.contrast:
        prompts = Run(text_trials(tokenizer, contrast_prompts), depths=0)
        stages.append(_stage("vectors: persona", [prompts, prompts], blocks, tokens_per_batch, loads=2))
        turns_1 = [
            Run([Trial(text.token_ids[: text.steered[1]])], depths=0)
            for text in encode_all(tokenizer, stimuli.detection).values()
        ]
        stages.append(_stage("prefill", turns_1, blocks, tokens_per_batch, loads=2))
    drawn = subject.settings.population
    few, concepts = spread(subject.suffixes, drawn.suffixes), load_population().few(drawn.concepts)
    population = [Run(each, depths=0) for each in training_trials(tokenizer, stimuli, concepts, few)]
    stages.append(_stage("vectors: population", population, blocks, tokens_per_batch))
    for name in experiments_with("measure"):
        runs = load(name, "measure").trials(subject)
        loads = 2 if name == "samples" and subject.model_settings.contrast else 1
        stages.append(_stage(name.replace("_", " "), runs, blocks, tokens_per_batch, loads))
    return stages


def _stage(name: str, runs: Sequence[Run], blocks: int, tokens_per_batch: int, loads: int = 1) -> Stage:
    work: list[tuple[Work, ...]] = []
    unembedded = 0
    for run in runs:
        if run.new_tokens:
            work.append((_generation(run, blocks),))
            unembedded += len(run.trials) * run.new_tokens
        else:
            work.append(tuple(work_of_batches(run.trials, blocks, tokens_per_batch)))
            unembedded += len(run.trials) * run.depths
    return Stage(name, sum(len(run.trials) for run in runs), tuple(work), unembedded, loads)


def _generation(run: Run, blocks: int) -> Work:
    """Replies are generated token by token, all rows together."""
    new, length = run.new_tokens, max(len(row.token_ids) for row in run.trials)
    slots = len(run.trials) * blocks
    return Work(new, slots * new, slots * (length + new), slots * (length + new) ** 2 // 2)


def floating_point_operations(work: Work, shape: Shape, unembedded: int = 0) -> float:
    """Those of the matrix products, a multiplication and an addition counted as two."""
    return (
        2.0 * work.block_tokens * shape.block_weights
        - 2.0 * work.last_block_tokens * shape.perceptron_weights
        + 4.0 * work.attended * shape.attention_width
        + 2.0 * unembedded * shape.unembedding_weights
    )


def seconds_of(work: Work, shape: Shape, placement: Placement, machine: Machine, rate: float) -> float:
    """How long some work takes at a share of a matrix product's rate; weights that lie elsewhere are read anew."""
    reading = placement.device / machine.memory_rate + placement.host / machine.host_rate + placement.disk / DISK_RATE
    return floating_point_operations(work, shape) / (REACHED * rate) + work.passes * reading


def loading_seconds(stage: Stage, shape: Shape) -> float:
    """How long a stage reads weights from disk before it begins."""
    return stage.loads * shape.weight_bytes / DISK_RATE


def _seconds(stage: Stage, shape: Shape, placement: Placement, machine: Machine, rate: float) -> float:
    unembedding = floating_point_operations(Work(), shape, stage.unembedded) / (REACHED * rate)
    return seconds_of(stage.work, shape, placement, machine, rate) + unembedding + loading_seconds(stage, shape)


def place_weights(
    weights: int, row_memory: int, cache_memory: int, model_settings: ModelSettings, machine: Machine
) -> Placement:
    """Where weights of so many bytes would lie, by the rule of loading, or what is in the way and would mend it."""
    if model_settings.quantization and importlib.util.find_spec("bitsandbytes") is None:
        return Placement(
            problem=f"{model_settings.quantization} weights need bitsandbytes: pip install introspection[quantization]"
        )
    if not _is_here(model_settings) and weights > machine.disk:
        return Placement(
            problem=f"its {size(weights)} must be downloaded, and the disk has room for {size(machine.disk)}"
        )
    if machine.accelerators:
        total = sum(machine.accelerators)
        device = min(weights, sum(room_for_weights(weights, machine.accelerators)))
        host = min(weights - device, max(0, int(0.9 * (machine.memory - cache_memory))))
        name = "the GPU"
    else:
        total = machine.memory - cache_memory
        device, host, name = min(weights, max(0, int(0.9 * (total - row_memory)))), 0, "memory"
    if row_memory > total - device:
        return Placement(
            problem=f"one row takes {size(row_memory)}, and {name} has {size(max(0, total - device))} left"
        )
    if cache_memory > machine.memory:
        return Placement(problem=f"the finetune's caches take {size(cache_memory)} of {size(machine.memory)} of memory")
    if device < weights and model_settings.device_map != "auto" and model_settings.max_memory is None:
        return Placement(
            problem=f"{size(weights)} of weights do not fit in the {size(total)} of {name}: set device_map: auto"
        )
    return Placement(device, host, weights - device - host)


def _is_here(model_settings: ModelSettings) -> bool:
    """Whether the weights are on this machine's disk."""
    folder = Path(model_settings.source)
    if not folder.is_dir():
        found = cached_file(
            model_settings.source,
            "config.json",
            revision=model_settings.revision or "main",
            local_files_only=True,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if found is None:
            return False
        folder = Path(found).parent
    return any(folder.glob("*.safetensors"))


def size(count: float) -> str:
    """Bytes in words."""
    return f"{count / 2**30:.3g} GiB" if count >= 0.01 * 2**30 else f"{count / 2**20:.3g} MiB"


def _matrices(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters() if weight.ndim > 1)
