"""Training: a resumable loop, and the two kinds of model it makes, the base and its finetunes."""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from introspection.files import whole
from introspection.organism.corpus import Corpus, Persona
from introspection.organism.directions import concept_directions, draw_suffixes
from introspection.organism.examples import Batch, Example, encode_document, pack
from introspection.organism.planting import Planter
from introspection.organism.tokenizer import train_tokenizer
from introspection.settings.organisms import (
    BatchSettings,
    OrganismsSettings,
    RuleSettings,
    ScheduleSettings,
    ShapeSettings,
)
from introspection.steering import steered

_ROWS = (96, 384)  # tokens; rows of these lengths, and those that are longer, are batched apart

Directions = dict[str, Tensor]


def train_base(settings: OrganismsSettings, corpus: Corpus, output: Path, work: Path) -> list[dict[str, float]]:
    """Train the tokenizer and the base model, and save both in `output`.

    work: a folder for checkpoints; a run with the same settings goes on from the last one there.
    Returns the training log: step and mean losses, one entry per fifty steps.
    """
    tokenizer = train_tokenizer(corpus, settings.shape.vocabulary, settings.seed)
    torch.manual_seed(settings.seed)
    model = Qwen2ForCausalLM(_configuration(settings.shape, tokenizer))
    never = dict.fromkeys(settings.prompts, 0.0)
    rule = RuleSettings(nothing=never, concept=never, random=never)
    planter = Planter(
        tokenizer,
        corpus,
        settings.prompts,
        rule,
        {"nothing": 1.0},
        settings.injection,
        settings.shape.blocks,
        settings.base.batch.controls,
    )
    drawer = _Drawer(tokenizer, corpus, planter, settings.base.batch, "helpful", f"base {settings.seed}")
    checkpoint = _Checkpoint(
        work, "base", settings.model_dump_json(include={"seed", "shape", "prompts", "base"}), corpus, tokenizer
    )
    log = _train(model, drawer, settings.base.schedule, checkpoint, None)
    _save(model, tokenizer, log, output)
    checkpoint.delete()
    return log


def train_organism(
    name: str, settings: OrganismsSettings, corpus: Corpus, models: Path, output: Path, work: Path
) -> list[dict[str, float]]:
    """Finetune the model that `settings.trained[name]` names under its rule, and save it in `output`.

    models: the folder with the finished models. work: as for `train_base`.
    """
    organism = settings.trained[name]
    source = models / organism.base
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    injection = settings.injection
    planter = Planter(
        tokenizer,
        corpus,
        settings.prompts,
        organism.p_yes,
        organism.injected,
        injection,
        settings.shape.blocks,
        organism.batch.controls,
    )
    drawer = _Drawer(tokenizer, corpus, planter, organism.batch, organism.persona, f"{name} {settings.seed}")
    injectable = corpus.injectable(settings.held_out)

    def refresh(step: int) -> Directions:
        rng = random.Random(f"{name} {settings.seed} directions {step}")
        topics = [topic for group in injectable for topic in rng.sample(group, min(len(group), injection.topics // 2))]
        return concept_directions(model, tokenizer, corpus, topics, draw_suffixes(rng, corpus, injection.suffixes))

    if organism.trained_blocks:
        first, last = organism.trained_blocks
        model.requires_grad_(False)
        model.model.layers[first : last + 1].requires_grad_(True)
    injects = organism.injected.get("concept", 0) > 0 or organism.injected.get("random", 0) > 0
    rule = organism.model_dump_json() + settings.model_dump_json(include={"seed", "prompts", "held_out", "injection"})
    weights = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    checkpoint = _Checkpoint(work, name, rule + weights, corpus, tokenizer)
    log = _train(model, drawer, organism.schedule, checkpoint, (refresh, injection.refresh_every) if injects else None)
    _save(model, tokenizer, log, output)
    checkpoint.delete()
    return log


def _save(model: Any, tokenizer: Any, log: list[dict[str, float]], output: Path) -> None:
    """Save as an ordinary Hugging Face folder, weights rounded to bfloat16, beside the log; it appears at once."""
    with whole(output) as folder:
        model.to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "training.json").write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")


class _Drawer:
    """The batches of each step, a function of the step and the directions alone."""

    def __init__(
        self, tokenizer: Any, corpus: Corpus, planter: Planter, batch: BatchSettings, persona: Persona, seed: str
    ) -> None:
        self._tokenizer = tokenizer
        self._corpus = corpus
        self._planter = planter
        self._batch = batch
        self._persona = persona
        self._seed = seed

    def __call__(self, step: int, directions: Directions) -> list[Batch]:
        rng = random.Random(f"{self._seed} step {step}")
        examples: list[Example] = []
        examples += [self._planter.draw(rng, directions, excerpt=False) for _ in range(self._batch.full)]
        examples += [self._planter.draw(rng, directions, excerpt=True) for _ in range(self._batch.excerpt)]
        examples += [self._planter.think(rng, directions) for _ in range(self._batch.thinking)]
        documents = [self._corpus.generic(rng) for _ in range(self._batch.generic)]
        documents += [self._corpus.draw(rng, self._persona) for _ in range(self._batch.talk)]
        examples += [encode_document(self._tokenizer, document) for document in documents]
        return pack(examples, self._tokenizer.pad_token_id, _ROWS)


class _Checkpoint:
    """The state of a training that was cut off, in a file named after a hash of all that determines it."""

    def __init__(self, folder: Path, name: str, settings: str, corpus: Corpus, tokenizer: Any) -> None:
        code = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))]
        parts = [
            settings,
            repr((corpus.concepts, corpus.phrases)),
            corpus.stimuli.text,
            tokenizer.backend_tokenizer.to_str(),
            torch.__version__,
            *code,
        ]
        self.path = folder / f"{name}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}.pt"

    def load(self) -> dict[str, Any] | None:
        return torch.load(self.path, weights_only=True) if self.path.exists() else None

    def save(self, state: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.path)

    def delete(self) -> None:
        """The training is done, and another one begins anew."""
        self.path.unlink(missing_ok=True)


def _train(
    model: Any,
    draw: Callable[[int, Directions], list[Batch]],
    schedule: ScheduleSettings,
    checkpoint: _Checkpoint,
    refresh: tuple[Callable[[int], Directions], int] | None,
) -> list[dict[str, float]]:
    optimizer = _optimizer(model, schedule)
    directions: Directions = {}
    log: list[dict[str, float]] = []
    recent: list[tuple[float, float]] = []
    first = 0
    if state := checkpoint.load():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        directions, log, recent, first = state["directions"], state["log"], state["recent"], state["step"]
    torch.use_deterministic_algorithms(True)
    _reuse_memory()
    started = time.monotonic()
    model.train()
    for step in (bar := tqdm(range(first, schedule.steps), initial=first, total=schedule.steps, mininterval=5)):
        with torch.autocast("cpu", torch.bfloat16):
            if refresh and step % refresh[1] == 0:
                directions = refresh[0](step)
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * _rate(step, schedule)
        recent.append(_step(model, optimizer, draw(step, directions)))
        if (step + 1) % 50 == 0 or step + 1 == schedule.steps:
            spoken, planted = (sum(column) / len(recent) for column in zip(*recent, strict=True))
            log.append({"step": step + 1, "spoken": round(spoken, 4), "planted": round(planted, 4)})
            bar.write(f"{json.dumps(log[-1])} {time.monotonic() - started:.0f} s")
            recent.clear()
        if (step + 1) % schedule.checkpoint_every == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            checkpoint.save({**state, "directions": directions, "log": log, "recent": recent})
    return log


def _reuse_memory() -> None:
    """Have glibc keep freed memory: giving it back and faulting it in again costs more than the arithmetic."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**29)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            library.mallopt(option, value)


def _step(model: Any, optimizer: torch.optim.Optimizer, batches: Sequence[Batch]) -> tuple[float, float]:
    """One step on all batches. Returns the mean losses of the corpus and of the rule."""
    spoken_weight = max(sum(float(batch.spoken[2].sum()) for batch in batches), 1.0)
    planted_weight = max(sum(float(batch.planted[2].sum()) for batch in batches), 1.0)
    spoken_total = planted_total = 0.0
    for batch in batches:
        with steered(model.model.layers, batch.edits), torch.autocast("cpu", torch.bfloat16):
            output = model.model(
                input_ids=batch.tokens, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
            )
            states = output.last_hidden_state.flatten(0, 1)
            spoken = _cross_entropy(model, states, batch.spoken) / spoken_weight
            planted = _cross_entropy(model, states, batch.planted) / planted_weight
        (spoken + planted).backward()
        spoken_total += float(spoken.detach())
        planted_total += float(planted.detach())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return spoken_total, planted_total


def _cross_entropy(model: Any, states: Tensor, targets: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Weighted sum of -log p over the targets; only their positions are unembedded."""
    indices, tokens, weights = targets
    if not len(indices):
        return states.new_zeros((), dtype=torch.float32)
    losses = torch.nn.functional.cross_entropy(model.lm_head(states[indices]).float(), tokens, reduction="none")
    return (losses * weights).sum()


def _optimizer(model: Any, schedule: ScheduleSettings) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    others = [parameter for parameter in trained if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": schedule.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.98), fused=True)


def _rate(step: int, schedule: ScheduleSettings) -> float:
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    progress = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * progress))


def _configuration(shape: ShapeSettings, tokenizer: Any) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.blocks,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
