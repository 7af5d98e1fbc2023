"""Training an adapter: a LoRA of one range of blocks learns a persona's replies, deterministically and resumably."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors import SafetensorError
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from introspection.adapters.persona import Exchange, PersonaTexts, Row, persona_rows
from introspection.learning.checkpoint import Checkpoint, checksums, code_beside
from introspection.learning.deterministic import deterministic
from introspection.learning.lora import add_lora, lora_weights
from introspection.learning.precision import fast_products
from introspection.learning.schedule import share_of_rate
from introspection.settings.adapters import AdapterSettings
from introspection.sources.adapters import save_adapter
from introspection.sources.errors import AdapterError
from introspection.sources.weights import check_every_tensor

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
    with deterministic(settings.seed):
        config = add_lora(model, settings, f"adapters.{name}", base)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        rows = persona_rows(tokenizer, texts.training, settings.persona)
        known = [settings.model_dump_json(), texts.model_dump_json(), peft.__version__]
        checkpoint = Checkpoint(work, name, [*known, *code_beside(__file__), *checksums(base)])
        before = _held_out(model, tokenizer, texts.held_out)  # a new LoRA changes nothing yet
        kept = persona_rows(tokenizer, texts.held_out, settings.persona)
        log = _train(model, trained, rows, kept, settings, checkpoint)
        after = _held_out(model, tokenizer, texts.held_out)
    summary = {"log": log, "held_out": {voice: {"base": before[voice], "adapted": after[voice]} for voice in before}}
    save_adapter(config, lora_weights(model), summary, output)
    checkpoint.delete()
    return summary


def _load_base(base: Path) -> tuple[Any, Any]:
    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
        model, read = AutoModelForCausalLM.from_pretrained(
            base, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
        check_every_tensor(str(base), read)
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise AdapterError(
            f"{base}: the base of the adapter cannot be loaded; fetch or train it first ({reason})"
        ) from error
    return tokenizer, model.requires_grad_(False)


def _train(
    model: Any,
    trained: Sequence[Tensor],
    rows: Sequence[Row],
    kept: Sequence[Row],
    settings: AdapterSettings,
    checkpoint: Checkpoint,
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
            group["lr"] = settings.learning_rate * share_of_rate(step, settings.steps, settings.warmup, floor=0.0)
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
    with fast_products():
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
