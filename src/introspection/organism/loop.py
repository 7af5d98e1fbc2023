"""The training loop of the organisms: deterministic, and resumed where it was cut off."""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from introspection.learning.checkpoint import Checkpoint
from introspection.learning.precision import fast_products
from introspection.learning.schedule import share_of_rate
from introspection.organism.directions import NO_DIRECTIONS, Directions
from introspection.organism.examples import Batch
from introspection.settings.organisms import ScheduleSettings
from introspection.steering import steered

Log = list[dict[str, float]]

_FLOOR = 0.1  # of the learning rate, where its decay ends


def train(
    model: Any,
    draw: Callable[[int, Directions], list[Batch]],
    schedule: ScheduleSettings,
    checkpoint: Checkpoint,
    refresh: tuple[Callable[[int], Directions], int] | None,
    after_step: Callable[[int], None] = lambda step: None,
) -> Log:
    """Train the parameters of a model that require gradients, on the batches that `draw` makes of step and directions.

    checkpoint: where unfinished work is saved, and gone on with. refresh: what makes the directions, and how often in
    steps; None: there are none. after_step: is called after every step with how many there were; one that a cut
    training does again is done as before. Returns the log: step and mean losses, an entry per log_every steps.
    """
    optimizer = _optimizer(model, schedule)
    averaged = _Average(model, schedule)
    directions = NO_DIRECTIONS
    log: Log = []
    recent: list[tuple[float, float]] = []
    first = 0
    if state := checkpoint.load():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        directions = Directions(*state["directions"])
        averaged.means = state["averaged"]
        log, recent, first = state["log"], state["recent"], state["step"]
    torch.use_deterministic_algorithms(True)
    _reuse_memory()
    started = time.monotonic()
    model.train()
    for step in (bar := tqdm(range(first, schedule.steps), initial=first, total=schedule.steps, mininterval=5)):
        with fast_products():
            if refresh and step % refresh[1] == 0:
                directions = refresh[0](step)
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * share_of_rate(step, schedule.steps, schedule.warmup, _FLOOR)
        recent.append(_step(model, optimizer, draw(step, directions)))
        averaged.add(step)
        after_step(step + 1)
        if (step + 1) % schedule.log_every == 0 or step + 1 == schedule.steps:
            spoken, planted = (sum(column) / len(recent) for column in zip(*recent, strict=True))
            log.append({"step": step + 1, "spoken": round(spoken, 4), "planted": round(planted, 4)})
            bar.write(f"{json.dumps(log[-1])} {time.monotonic() - started:.0f} s")
            recent.clear()
        if (step + 1) % schedule.checkpoint_every == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            means = {"directions": tuple(directions), "averaged": averaged.means}
            checkpoint.save({**state, **means, "log": log, "recent": recent})
    averaged.take()
    return log


class _Average:
    """The mean of the trained weights after the last steps: single checkpoints of a short training wobble."""

    def __init__(self, model: Any, schedule: ScheduleSettings) -> None:
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._begin = schedule.steps - schedule.average
        self.means: list[Tensor] = []

    def add(self, step: int) -> None:
        """Count the weights in, if the step is one of the last."""
        number = step - self._begin
        if number == 0:
            self.means = [parameter.detach().clone() for parameter in self._trained]
        elif number > 0:
            for mean, parameter in zip(self.means, self._trained, strict=True):
                mean.lerp_(parameter.detach(), 1 / (number + 1))

    def take(self) -> None:
        """Give the model the mean, if there is one."""
        for mean, parameter in zip(self.means, self._trained, strict=False):
            parameter.data.copy_(mean)


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
        with steered(model.model.layers, batch.edits), fast_products():
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
