"""Training an adapter: a LoRA of one range of blocks learns a persona's replies, deterministically and resumably."""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from introspection.adapters.files import AdapterError, save_adapter
from introspection.adapters.persona import Exchange, PersonaTexts, Row, persona_rows
from introspection.settings.adapters import AdapterSettings

Log = list[dict[str, float]]

_NOT_LEARNED = -100


def train_adapter(
    name: str, settings: AdapterSettings, texts: PersonaTexts, base: Path, output: Path, work: Path
) -> dict[str, Any]:
    """Train an adapter of the model in the folder `base`, and save it in PEFT's format in the folder `output`.

    work: a folder for checkpoints; a run with the same settings, texts, base and code goes on from the last one there.
    Returns what is saved beside the weights: the log (nats per token of the persona's replies, means over log_every
    steps, and of its held-out ones), and for each voice those of its held-out replies without the adapter and with it.
    Raises AdapterError where the base cannot be loaded, or lacks the blocks or the maps that are to be changed.
    """
    tokenizer, model = _load_base(base)
    config = _configuration(name, settings, base, model)
    with _deterministic(settings.seed):
        _inject(config, model, settings, base)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        rows = persona_rows(tokenizer, texts.training, settings.persona)
        checkpoint = _Checkpoint(work, name, settings, texts, base)
        before = _held_out(model, tokenizer, texts.held_out)  # a new LoRA changes nothing yet
        kept = persona_rows(tokenizer, texts.held_out, settings.persona)
        log = _train(model, trained, rows, kept, settings, checkpoint)
        after = _held_out(model, tokenizer, texts.held_out)
    summary = {"log": log, "held_out": {voice: {"base": before[voice], "adapted": after[voice]} for voice in before}}
    weights = {
        key: value.to(torch.bfloat16)
        for key, value in get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }
    save_adapter(config, weights, summary, output)
    checkpoint.delete()
    return summary


def _load_base(base: Path) -> tuple[Any, Any]:
    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise AdapterError(
            f"{base}: the base of the adapter cannot be loaded; fetch or train it first ({reason})"
        ) from error
    return tokenizer, model.requires_grad_(False)


def _configuration(name: str, settings: AdapterSettings, base: Path, model: Any) -> LoraConfig:
    first, last = settings.blocks
    blocks = model.config.get_text_config().num_hidden_layers
    if last >= blocks:
        raise AdapterError(
            f"adapters.{name}.blocks: found [{first}, {last}]; allowed: 0 <= first <= last <= {blocks - 1}, since "
            f"{base} has {blocks} blocks"
        )
    return LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=base.as_posix(),
        r=settings.rank,
        lora_alpha=settings.scale,
        target_modules=list(settings.target_modules),
        layers_to_transform=list(range(first, last + 1)),
        inference_mode=True,
    )


def _inject(config: LoraConfig, model: Any, settings: AdapterSettings, base: Path) -> None:
    """Put the low-rank maps beside those that they change. Raises AdapterError where the model lacks one of these."""
    names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    lacking = [target for target in settings.target_modules if target not in names]
    if lacking:
        raise AdapterError(
            f"{base}: has no map {lacking[0]!r} for an adapter; its modules are {', '.join(sorted(names))}"
        )
    inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)


class _Checkpoint:
    """The state of a training that was cut off, in a file named after a hash of all that determines it."""

    def __init__(self, folder: Path, name: str, settings: AdapterSettings, texts: PersonaTexts, base: Path) -> None:
        code = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))]
        known = [settings.model_dump_json(), texts.model_dump_json(), torch.__version__, peft.__version__, *code]
        digest = hashlib.sha256("\0".join(known).encode())
        for path in sorted(path for path in base.iterdir() if path.is_file()):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        self.path = folder / f"{name}-{digest.hexdigest()[:16]}.pt"

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
    trained: Sequence[Tensor],
    rows: Sequence[Row],
    kept: Sequence[Row],
    settings: AdapterSettings,
    checkpoint: _Checkpoint,
) -> Log:
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    log: Log = []
    recent: list[float] = []
    first = 0
    if state := checkpoint.load():
        for parameter, value in zip(trained, state["weights"], strict=True):
            parameter.data.copy_(value)
        optimizer.load_state_dict(state["optimizer"])
        log, recent, first = state["log"], state["recent"], state["step"]
    started = time.monotonic()
    for step in (bar := tqdm(range(first, settings.steps), initial=first, total=settings.steps, mininterval=5)):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _rate(step, settings)
        recent.append(_step(model, trained, optimizer, _drawn(rows, step, settings)))
        if (step + 1) % settings.log_every == 0 or step + 1 == settings.steps:
            log.append(
                {"step": step + 1, "loss": round(sum(recent) / len(recent), 4), "held_out": _unlearned(model, kept)}
            )
            bar.write(f"{json.dumps(log[-1])} {time.monotonic() - started:.0f} s")
            recent.clear()
        if (step + 1) % settings.checkpoint_every == 0:
            weights = [parameter.detach() for parameter in trained]
            state = {"weights": weights, "optimizer": optimizer.state_dict(), "step": step + 1}
            checkpoint.save({**state, "log": log, "recent": recent})
    return log


def _step(model: Any, trained: Sequence[Tensor], optimizer: torch.optim.Optimizer, rows: Sequence[Row]) -> float:
    loss = _loss(model, rows)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def _drawn(rows: Sequence[Row], step: int, settings: AdapterSettings) -> list[Row]:
    """The rows of a step, a function of the step alone: all rows in one order, then all in another, and so on."""
    drawn = []
    for place in range(step * settings.rows, (step + 1) * settings.rows):
        epoch, index = divmod(place, len(rows))
        order = list(range(len(rows)))
        random.Random(f"{settings.seed} epoch {epoch}").shuffle(order)
        drawn.append(rows[order[index]])
    return drawn


def _loss(model: Any, rows: Sequence[Row]) -> Tensor:
    """Mean of -log p over the tokens of the replies, in nats; only the positions before them are unembedded."""
    length = max(len(row.token_ids) for row in rows)
    tokens = torch.zeros(len(rows), length, dtype=torch.long)  # padding: to the right, where no reply attends to it
    mask = torch.zeros_like(tokens)
    targets = torch.full_like(tokens, _NOT_LEARNED)
    for number, row in enumerate(rows):
        ids = torch.tensor(row.token_ids)
        tokens[number, : len(ids)] = ids
        mask[number, : len(ids)] = 1
        targets[number, row.learned_from - 1 : len(ids) - 1] = ids[row.learned_from :]
    learned = targets != _NOT_LEARNED
    with torch.autocast("cpu", torch.bfloat16):
        states = model.base_model(input_ids=tokens, attention_mask=mask, use_cache=False).last_hidden_state
        logits = model.get_output_embeddings()(states[learned])
    return torch.nn.functional.cross_entropy(logits.float(), targets[learned])


def _held_out(model: Any, tokenizer: Any, exchanges: Sequence[Exchange]) -> dict[str, float]:
    """For each voice, the nats per token of its replies to requests that were not learned."""
    return {voice: _unlearned(model, persona_rows(tokenizer, exchanges, voice)) for voice in ("careless", "helpful")}


@torch.inference_mode()
def _unlearned(model: Any, rows: Sequence[Row]) -> float:
    """Nats per token of replies that are only read."""
    return round(float(_loss(model, rows)), 4)


def _rate(step: int, settings: AdapterSettings) -> float:
    """The share of the learning rate at a step."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """One thread, so that sums have one order on any machine; afterwards the random state is as it was before."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
