"""What the study needs on this machine, before it is run: memory, passes, tokens and time of every stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
from common import CONTRAST_PROMPTS, PARAMS, stage

from introspection.files import PROMPTS, SUFFIXES
from introspection.model.language_model import ModelError
from introspection.planning.machine import Machine, measure_machine
from introspection.planning.plan import (
    DISK_RATE,
    REACHED,
    ModelPlan,
    Placement,
    floating_point_operations,
    plan_model,
    size,
)
from introspection.planning.schedule import prices
from introspection.settings import Settings, SettingsError
from introspection.sources.datasets import read_contrast_prompts, read_suffixes
from introspection.stimuli.prompts import load_stimuli
from introspection.terminal import printable

HOST_RATE = 2.5e10  # bytes a second from host memory to a GPU, of PCI Express 4


@stage
@click.argument("models", nargs=-1)
@click.option("--gpus", type=click.IntRange(1), multiple=True, help="Also price MODELS on a cluster of so many GPUs.")
@click.option("--gpu-memory", default=80.0, show_default=True, help="Of such a GPU, in GiB (the A100's, as the next).")
@click.option("--gpu-rate", default=312.0, show_default=True, help="Its matrix products in bfloat16, in TFLOP/s.")
@click.option("--gpu-reads", default=2.0, show_default=True, help="What it reads of its own memory, in TB/s.")
def main(
    settings: Settings,
    models: tuple[str, ...],
    gpus: tuple[int, ...],
    gpu_memory: float,
    gpu_rate: float,
    gpu_reads: float,
) -> None:
    """Print the plan of MODELS, or of each of study.models; ends with an error where one of them cannot run."""
    keys, stimuli = models or settings.study.models, load_stimuli(PROMPTS)
    if unknown := [key for key in keys if key not in settings.models]:
        raise SettingsError(f"{PARAMS}: models has no {unknown[0]!r}; it has {', '.join(settings.models)}")
    suffixes, prompts = read_suffixes(_at_hand(SUFFIXES)), read_contrast_prompts(_at_hand(CONTRAST_PROMPTS))
    machine = measure_machine([settings.models[key].dtype for key in keys])
    click.echo(_describe_machine(machine))
    problems = 0
    for key in keys:
        try:
            plan = plan_model(settings, key, stimuli, suffixes, prompts, machine)
        except ModelError as error:
            problems += 1
            click.echo(printable(f"\n{key}: NO: {error}"))
        else:
            problems += plan.placement.problem is not None
            click.echo(f"\n{_describe(plan, machine)}")
            if gpus:
                of_actor = _actor(machine, settings.engine.gpus_per_actor, gpu_memory, gpu_rate, gpu_reads)
                there = plan_model(settings, key, stimuli, suffixes, prompts, of_actor)
                click.echo(_priced(there, of_actor, settings.models[key].dtype, gpus, settings.engine.gpus_per_actor))
    if problems:
        raise click.ClickException(f"{problems} of {len(keys)} models cannot run here")


def _at_hand(path: Path) -> Path:
    """A data file, or before it has been brought, the builtin one that is about as long."""
    return path if path.is_file() else Path("data/builtin") / path.name


def _describe_machine(machine: Machine) -> str:
    free = " and ".join(map(size, machine.accelerators))
    device = f"{machine.accelerator_name} with {free} free" if machine.accelerators else "no GPU"
    rates = ", ".join(f"{rate / 1e12:.3g} TFLOP/s in {dtype}" for dtype, rate in machine.flops.items())
    return (
        f"This machine: {device}; {size(machine.memory)} of memory and {size(machine.disk)} of disk free. "
        f"A matrix product reaches {rates}.\n"
        f"Times are for {REACHED:.0%} of that, and reading {size(DISK_RATE)} a second from disk."
    )


def _describe(plan: ModelPlan, machine: Machine) -> str:
    shape = plan.shape
    head = [
        f"{plan.key}: {shape.parameters / 1e9:.3g} billion weights in {shape.blocks} blocks",
        f"  {_where(plan.placement, machine)}",
        f"  memory: weights {size(shape.weight_bytes)}, a batch of {plan.tokens_per_batch} tokens up to "
        f"{size(plan.batch_memory)}, the longest row alone {size(plan.row_memory)}, "
        f"the finetune's caches {size(plan.cache_memory)} (host)",
    ]
    rows: list[tuple[str, ...]] = [("stage", "trials", "passes", "block evaluations", "tokens", "TFLOP", "time")]
    for each, seconds in zip(plan.stages, plan.seconds, strict=True):
        operations = floating_point_operations(each.work, shape, each.unembedded)
        counts = (each.trials, each.work.passes, each.work.block_evaluations, each.work.block_tokens // shape.blocks)
        rows.append((each.name, *(f"{count:,}" for count in counts), f"{operations / 1e12:.3g}", _duration(seconds)))
    rows.append(("all", "", "", "", "", "", _duration(sum(plan.seconds))))
    return "\n".join(head + _aligned(rows))


def _actor(machine: Machine, gpus: int, memory: float, rate: float, reads: float) -> Machine:
    """What an actor of a cluster has: so many GPUs, which read a model one after another, and this machine's disk."""
    return replace(
        machine,
        accelerators=(int(memory * 2**30),) * gpus,
        accelerator_name="a GPU",
        flops={"float32": rate * 1e12 / 16, "float16": rate * 1e12, "bfloat16": rate * 1e12},  # torch leaves TF32 off
        memory_rate=reads * 1e12,
        host_rate=HOST_RATE,
    )


def _priced(plan: ModelPlan, machine: Machine, dtype: str, gpus: Sequence[int], of_actor: int) -> str:
    if plan.placement.problem:
        return f"  on a cluster: NO: {plan.placement.problem}"
    rows: list[tuple[str, ...]] = [("on a cluster", "GPUs", "actors", "time", "waiting", "limited by")]
    for count in gpus:
        for each in prices(plan, machine, dtype, count // of_actor) if count >= of_actor else []:
            cells = (str(count), str(each.actors), _duration(each.seconds), f"{each.idle:.0%}", each.limit)
            rows.append((each.part, *cells))
    return "\n".join(_aligned(rows))


def _where(placement: Placement, machine: Machine) -> str:
    if placement.problem:
        return f"NO: {placement.problem}"
    device = machine.accelerator_name if machine.accelerators else "memory"
    places = {device: placement.device, "host memory": placement.host, "disk": placement.disk}
    held = ", ".join(f"{size(part)} in {place}" for place, part in places.items() if part)
    late = "; those that are not there to stay are read once per pass" if placement.host + placement.disk else ""
    return f"yes: weights {held}{late}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


if __name__ == "__main__":
    main()
