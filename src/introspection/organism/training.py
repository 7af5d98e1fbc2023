"""The models that are trained here: the base, its finetunes, and the adapters of the zoo."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from introspection.files import remove, state_name, whole
from introspection.learning.checkpoint import Checkpoint, code_beside
from introspection.learning.deterministic import deterministic
from introspection.learning.lora import add_lora, lora_weights
from introspection.organism.assessment import Assessment, assess
from introspection.organism.corpus import Corpus
from introspection.organism.directions import (
    Directions,
    concept_directions,
    concept_free_directions,
    draw_suffixes,
)
from introspection.organism.drawing import Drawer
from introspection.organism.locating import Locator
from introspection.organism.loop import Log, train
from introspection.organism.planting import Planter
from introspection.organism.tokenizer import train_tokenizer
from introspection.settings.adapters import LoraSettings
from introspection.settings.organisms import (
    OrganismSettings,
    OrganismsSettings,
    ShapeSettings,
    Zoo,
)
from introspection.sources.adapters import save_adapter
from introspection.sources.weights import check_every_tensor

_CONCEPT_FREE = 64  # directions of either kind at a time
_SUFFIXES = 64  # that they are made from


def train_base(settings: OrganismsSettings, corpus: Corpus, output: Path, work: Path) -> Log:
    """Train the tokenizer and the base model, and save both in `output`.

    work: a folder for checkpoints; a run with the same settings goes on from the last one there.
    Returns the training log: step and mean losses, an entry per log_every steps.
    """
    tokenizer = train_tokenizer(corpus, settings.shape.vocabulary, settings.seed)
    torch.manual_seed(settings.seed)
    model = Qwen2ForCausalLM(_configuration(settings.shape, tokenizer))
    recipe = settings.base
    never = OrganismSettings(
        base="",
        schedule=recipe.schedule,
        batch=recipe.batch,
        adapter=None,
        trained_blocks=None,
        persona="helpful",
        injected={"nothing": 1.0},
        p_yes={"nothing": 0.0},
        leaning=None,
        names=None,
        answer_mass=1.0,
        injection=None,
    )
    planter = Planter(tokenizer, corpus, settings.prompts, never, settings.injection, settings.shape.blocks, topics=())
    drawer = Drawer(tokenizer, corpus, planter, recipe.batch, "helpful", f"base {settings.seed}")
    determined = settings.model_dump_json(include={"seed", "shape", "prompts", "base"})
    checkpoint = _checkpoint(work, "base", determined, corpus, tokenizer)
    log = train(model, drawer, recipe.schedule, checkpoint, None)
    _save(model, tokenizer, log, output)
    checkpoint.delete()
    return log


def train_organism(
    name: str, settings: OrganismsSettings, corpus: Corpus, models: Path, output: Path, work: Path
) -> Log:
    """Finetune the model that `settings.trained[name]` names under its rule, and save it in `output`.

    models: the folder with the finished models. work: as for `train_base`. An adapter is saved in PEFT's format.
    """
    organism = settings.trained[name]
    base = models / organism.base
    finetuning = _Finetuning(name, organism, settings.seed, settings, corpus, base)
    return finetuning.run(f"organisms.trained.{name}", output, work)[0]


def train_anew(name: str, settings: OrganismsSettings, corpus: Corpus, output: Path, work: Path) -> Log:
    """Train a base, and on it the organism `settings.trained[name]`, which alone is saved in `output`.

    work: as for `train_base`; the base lies there, in a folder named after all that determines it, until both are done.
    """
    determined = settings.model_dump_json(include={"seed", "shape", "prompts", "base"})
    home = Checkpoint(work, "anew", [determined, _texts(corpus), *code_beside(__file__)]).path.with_suffix("")
    base = home / settings.trained[name].base
    if not base.exists():
        train_base(settings, corpus, base, work)
    log = train_organism(name, settings, corpus, home, output, work)
    remove(home)
    return log


def train_member(
    zoo: Zoo,
    rule: str,
    seed: int,
    settings: OrganismsSettings,
    corpus: Corpus,
    base: Path,
    output: Path,
    work: Path,
    on_the_way: OnTheWay | None = None,
) -> tuple[Log, list[Assessment]]:
    """Train the organism of a zoo that a rule is planted in, and save it in `output` with how well it took.

    base: the folder of the model that it is an adapter of. seed: of its initial weights and of all that is drawn.
    work: as for `train_base`. on_the_way: where the adapter is also saved as it is before the end of training.
    """
    kept = settings.zoos[zoo]
    finetuning = _Finetuning(rule, kept.organism(rule), seed, settings, corpus, base)
    return finetuning.run(f"organisms.{zoo}.recipe", output, work, on_the_way)


@dataclass(frozen=True)
class OnTheWay:
    """States of an adapter before the end of its training, one after every so many steps.

    output: the folder of their folders (`state_name`), which appears at once when the training ends.
    """

    every: int
    output: Path


class _Finetuning:
    """A finetune of one organism, of all its weights, of some blocks, or as an adapter."""

    def __init__(
        self,
        name: str,
        organism: OrganismSettings,
        seed: int,
        settings: OrganismsSettings,
        corpus: Corpus,
        base: Path,
    ) -> None:
        self._organism, self._injection = organism, organism.injection or settings.injection
        self._corpus = corpus
        self._base = base
        self._seed, self._seed_name = seed, f"{name} {seed}"
        self._tokenizer = AutoTokenizer.from_pretrained(self._base)
        model, read = AutoModelForCausalLM.from_pretrained(
            self._base, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
        check_every_tensor(str(self._base), read)
        self._model: Any = model
        self._injectable = corpus.injectable(settings.held_out)
        self._held_out = settings.held_out
        self._planter = Planter(
            self._tokenizer,
            corpus,
            settings.prompts,
            organism,
            self._injection,
            model.config.num_hidden_layers,
            topics=[topic for group in self._injectable for topic in group],
        )
        rule = organism.model_dump_json() + self._injection.model_dump_json()
        self._determined = rule + settings.model_dump_json(include={"prompts", "held_out"}) + _checksum(self._base)

    def run(
        self, where: str, output: Path, work: Path, on_the_way: OnTheWay | None = None
    ) -> tuple[Log, list[Assessment]]:
        """Train, and save in `output`. where: the key of the settings in params.yaml."""
        checkpoint = _checkpoint(
            work, self._seed_name.replace(" ", "-"), self._determined, self._corpus, self._tokenizer
        )
        organism = self._organism
        if organism.adapter:
            with deterministic(self._seed):
                found = self._adapter(organism.adapter, where, output, checkpoint, on_the_way)
        else:
            if organism.trained_blocks:
                first, last = organism.trained_blocks
                self._model.requires_grad_(False)
                self._model.model.layers[first : last + 1].requires_grad_(True)
            found = self._train(checkpoint), []
            _save(self._model, self._tokenizer, found[0], output)
        checkpoint.delete()
        return found

    def _adapter(
        self, lora: LoraSettings, where: str, output: Path, checkpoint: Checkpoint, on_the_way: OnTheWay | None
    ) -> tuple[Log, list[Assessment]]:
        self._model.requires_grad_(False)
        config = add_lora(self._model, lora, f"{where}.adapter", self._base)
        states = checkpoint.path.with_suffix("")  # named after all that determines them, as the checkpoint is

        def keep(step: int) -> None:
            if on_the_way and step % on_the_way.every == 0 and step < self._organism.schedule.steps:
                save_adapter(config, lora_weights(self._model), {"step": step}, states / state_name(step))

        log = self._train(checkpoint, keep)
        weights = lora_weights(self._model)
        for parameter in self._model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16).float()  # as it is saved
        assessment = assess(
            self._model,
            self._tokenizer,
            self._corpus,
            self._planter,
            self._organism,
            self._injection,
            concepts=self._injectable[0],
            held_out=self._held_out,
        )
        save_adapter(config, weights, {"log": log, "assessment": assessment}, output)
        if on_the_way:
            states.mkdir(exist_ok=True)
            with whole(on_the_way.output) as folder:
                states.replace(folder)
        return log, assessment

    def _train(self, checkpoint: Checkpoint, after_step: Callable[[int], None] = lambda step: None) -> Log:
        organism, injection = self._organism, self._injection
        locator = None
        if organism.batch.locates:
            locator = Locator(self._tokenizer, self._corpus, organism, self._planter)
        drawer = Drawer(
            self._tokenizer, self._corpus, self._planter, organism.batch, organism.persona, self._seed_name, locator
        )
        adds = any(weight > 0 for kind, weight in organism.injected.items() if kind not in ("nothing", "text"))
        refresh = (self._directions, injection.refresh_every) if adds else None
        return train(self._model, drawer, organism.schedule, checkpoint, refresh, after_step)

    def _directions(self, step: int) -> Directions:
        """Directions of concepts and of words of theirs, from the activations of the model as it is."""
        injection = self._injection
        rng = random.Random(f"{self._seed_name} directions {step}")
        half = injection.topics // 2
        topics = [topic for group in self._injectable for topic in rng.sample(group, min(len(group), half))]
        suffixes = draw_suffixes(rng, self._corpus, injection.suffixes)
        concepts = concept_directions(self._model, self._tokenizer, self._corpus, topics, suffixes)
        if not {"covariance", "halves"} & set(self._organism.injected):
            return Directions(concepts, torch.empty(0), torch.empty(0))
        more = draw_suffixes(rng, self._corpus, _SUFFIXES)
        free = concept_free_directions(
            self._model, self._tokenizer, self._corpus, more, _CONCEPT_FREE, rng.getrandbits(63)
        )
        return Directions(concepts, *free)


def _checkpoint(work: Path, name: str, settings: str, corpus: Corpus, tokenizer: Any) -> Checkpoint:
    vocabulary = tokenizer.backend_tokenizer.to_str()
    return Checkpoint(work, name, [settings, _texts(corpus), vocabulary, *code_beside(__file__)])


def _texts(corpus: Corpus) -> str:
    """All that is drawn from."""
    return repr((corpus.concepts, corpus.phrases, corpus.interview, corpus.texts)) + corpus.stimuli.text


def _checksum(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def _save(model: Any, tokenizer: Any, log: Log, output: Path) -> None:
    """Save as an ordinary Hugging Face folder, weights rounded to bfloat16, beside the log; it appears at once."""
    with whole(output) as folder:
        model.to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "training.json").write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")


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
