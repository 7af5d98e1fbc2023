"""The plan: counts that the stages bear out, what fits where, and a no in time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from torch.utils.flop_counter import FlopCounterMode

from introspection.engine.cache import Prefill
from introspection.engine.trial import Directions
from introspection.engine.work import Work
from introspection.experiments import experiments_with
from introspection.experiments import load as load_part
from introspection.experiments.dose.tables import NORMS
from introspection.experiments.population.concepts import CONCEPTS, load_population
from introspection.experiments.population.vectors import VECTORS, save_directions, trained_directions
from introspection.experiments.subject import PlannedSubject
from introspection.injection.vectors import concept_vectors, random_vectors
from introspection.planning.machine import Machine, matrix_product_rate, measure_machine
from introspection.planning.plan import (
    ModelPlan,
    Placement,
    Stage,
    floating_point_operations,
    place_weights,
    plan_model,
    seconds_of,
)
from introspection.planning.schedule import makespan, prices
from introspection.settings import ModelSettings, Settings, load_settings
from introspection.sources.datasets import read_contrast_prompts, read_suffixes
from introspection.stimuli.prompts import Stimuli
from tests.conftest import ROOT
from tests.small_models import load, save_model

SUFFIXES = read_suffixes(ROOT / "data" / "builtin" / "suffixes.json")[:40]
PROMPTS = read_contrast_prompts(ROOT / "data" / "builtin" / "contrast_prompts.csv")[:20]
BATCH = 6000  # tokens: every stage takes several batches, and questions after one turn 1 share some
MACHINE = Machine((), "", 8 * 2**30, 100 * 2**30, {"float32": 1e11, "bfloat16": 1e11}, 1e10, 1e10)


def settings_of(folder: Path, **changes: Any) -> Settings:
    settings = load_settings(ROOT / "params.yaml")
    values = {
        "source": str(folder),
        "dtype": "float32",
        "layers": (1, 3),
        "strength": 4.0,
        "filler": "original",
    } | changes
    model = ModelSettings(**values)
    study = settings.study.model_copy(
        update={"models": ("tiny",), "concepts": ("cat", "bread"), "random_directions": 2}
    )
    few = {"windows": 2, "fractions": (0.1, 0.3), "parts_of_strength": (0.5, 1.0), "pairs": 2, "controls": 2}
    places = settings.places.model_copy(update=few)
    return settings.model_copy(update={"models": {"tiny": model}, "study": study, "places": places})


def unloadable(folder: Path) -> Path:
    """A copy of the folder without its weights."""
    copy = folder.with_name(f"{folder.name}-without-weights")
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    (copy / "model.safetensors").touch()
    return copy


def test_the_counted_work_is_what_the_stages_do(
    tmp_path: Path, tokenizer: Tokenizer, stimuli: Stimuli, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_model(tmp_path / "m", "qwen2", tokenizer)
    model = load(folder)
    direction = next(iter(random_vectors(model, 1, seed=3)))[1].directions
    settings = settings_of(unloadable(folder))
    settings = settings.model_copy(update={"engine": settings.engine.model_copy(update={"tokens_per_batch": BATCH})})
    plan = plan_model(settings, "tiny", stimuli, SUFFIXES, PROMPTS, MACHINE)
    planned = {stage.name: stage for stage in plan.stages}
    assert "prefill" not in planned and plan.cache_memory == 0, "no finetune"

    shapes: list[tuple[int, int]] = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda _module, inputs: shapes.append(tuple(inputs[0].shape[:2])))

    class Given(PlannedSubject):
        prefills: ClassVar[dict[str, Prefill]] = {}

        def directions(self, vectors: Sequence[str]) -> Directions:
            return dict.fromkeys(vectors, direction)

    subject = Given("tiny", settings, settings.models["tiny"], stimuli, tmp_path, model, SUFFIXES)
    (tmp_path / "model.json").touch()
    NORMS.write(pd.DataFrame({"layer": range(6), "mean_norm": 1.0, "norm_std": 0.0}), tmp_path / NORMS.name)
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    concepts = settings.study.concepts
    stages = {"vectors": lambda _: list(concept_vectors(model, stimuli, concepts, SUFFIXES, tokens_per_batch=BATCH))}
    population = load_population(ROOT / CONCEPTS)
    save_directions(dict.fromkeys(population.concepts, direction), VECTORS / "tiny.safetensors")
    trained = partial(trained_directions, model, stimuli, load_population(ROOT / CONCEPTS), SUFFIXES, 2, 0)
    stages["vectors: population"] = lambda _: list(trained(tokens_per_batch=BATCH))
    stages |= {name: load_part(name, "measure").measure for name in experiments_with("measure")}
    assert {"detection", "controls", "lens", "content", "samples", "sweep", "chosen_range"} < set(stages)
    # Replies are counted as whole batches, padding and all; of a bisection, all steps, which its own test looks at.
    # A reader's turn 1 is kept for both of its questions, and is counted as if the engine ran it, in batches.
    for name in ("samples", "chosen_range", "dose", "population", "reader"):
        del stages[name]
    for name, run in stages.items():
        shapes.clear()
        run(subject)
        work = planned[name].work
        assert work.passes == len(shapes) / 5, name
        assert work.block_evaluations == sum(slots for slots, _ in shapes), name
        assert work.block_tokens == sum(slots * length for slots, length in shapes), name


def test_the_operations_are_those_of_the_matrix_products(folders: dict[str, Path], stimuli: Stimuli) -> None:
    """Counted by torch on a plain pass; the plan counts attention to what comes before alone, torch all pairs."""
    model = load(folders["qwen2"])
    model.model.set_attn_implementation("eager")  # torch does not count the fused kernel on the CPU
    plan = plan_model(settings_of(folders["qwen2"]), "tiny", stimuli, SUFFIXES, PROMPTS, MACHINE)
    length = 40
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.model(torch.ones(3, length, dtype=torch.long))
    work = Work(passes=1, block_tokens=5 * 3 * length, attended=5 * 3 * length**2)
    assert floating_point_operations(work, plan.shape, unembedded=3 * length) == counter.get_total_flops()


def test_the_whole_study_of_a_model_with_a_finetune_is_planned_without_weights(
    tmp_path: Path, tokenizer: Tokenizer, stimuli: Stimuli
) -> None:
    folder = unloadable(save_model(tmp_path / "m", "llama", tokenizer))
    settings = settings_of(folder, contrast={"source": str(folder), "strength": 1.0})
    plan = plan_model(settings, "tiny", stimuli, SUFFIXES, PROMPTS, MACHINE)
    experiments = [name.replace("_", " ") for name in experiments_with("measure")]
    assert [stage.name for stage in plan.stages] == [
        "vectors",
        "vectors: persona",
        "prefill",
        "vectors: population",
        *experiments,
    ]
    config = json.loads((folder / "config.json").read_text())
    tokens = plan.cache_memory / (2 * config["num_hidden_layers"] * 2 * 8 * 4)  # 2 key-value heads of 8, in float32
    assert 1000 < tokens < 4000 and tokens == int(tokens)
    assert plan.placement == Placement(device=plan.shape.weight_bytes)
    assert plan.shape.weight_bytes == 4 * plan.shape.parameters
    half = plan_model(settings, "tiny", stimuli, SUFFIXES, PROMPTS, replace(MACHINE, flops={"float32": 5e10}))
    assert all(slow > fast for slow, fast in zip(half.seconds, plan.seconds, strict=True))


GIB = 2**30


@pytest.mark.parametrize(
    ("weights", "accelerators", "memory", "changes", "expected"),
    [
        (60, (100,), 8, {}, Placement(device=60 * GIB)),
        (64, (24,), 200, {"device_map": "auto"}, Placement(device=12 * GIB, host=52 * GIB)),
        (64, (24,), 40, {"device_map": "auto"}, Placement(device=12 * GIB, host=36 * GIB, disk=16 * GIB)),
        (64, (24,), 200, {}, "device_map: auto"),
        (2, (), 8, {}, Placement(device=2 * GIB)),
        (64, (), 10, {}, "device_map: auto"),
        (1, (), 0, {}, "one row takes"),
        (64, (), 11, {"device_map": "auto"}, Placement(device=9 * GIB, disk=55 * GIB)),
        (1, (24,), 8, {"quantization": "8bit"}, "bitsandbytes"),
    ],
)
def test_weights_go_where_there_is_room(
    folders: dict[str, Path],
    weights: int,
    accelerators: tuple[int, ...],
    memory: int,
    changes: dict[str, str],
    expected: Placement | str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("introspection.planning.plan.importlib.util.find_spec", lambda name: None)
    own = ModelSettings(
        source=str(folders["qwen2"]), dtype="float32", layers=(1, 2), strength=1.0, filler="original", **changes
    )
    machine = replace(MACHINE, accelerators=tuple(GIB * each for each in accelerators), memory=memory * GIB)
    found = place_weights(weights * GIB, GIB, 0, own, machine)
    if isinstance(expected, str):
        assert found.problem is not None and expected in found.problem
    else:
        assert found.problem is None
        assert found.device == pytest.approx(expected.device, rel=0.001)
        assert found.host == pytest.approx(expected.host, rel=0.001)
        assert found.disk == pytest.approx(expected.disk, rel=0.001)
        assert found.device + found.host + found.disk == weights * GIB


def test_a_model_that_must_be_downloaded_needs_room_on_disk() -> None:
    own = ModelSettings(source="nobody/at-hand", dtype="bfloat16", layers=(1, 2), strength=1.0, filler="original")
    assert place_weights(5 * GIB, GIB, 0, own, replace(MACHINE, disk=6 * GIB)).problem is None
    problem = place_weights(5 * GIB, GIB, 0, own, replace(MACHINE, disk=4 * GIB)).problem
    assert problem is not None and "downloaded" in problem


def test_the_machine_is_measured_in_no_time() -> None:
    machine = measure_machine(["float32", "float32"])
    assert list(machine.flops) == ["float32"]
    rate = matrix_product_rate(torch.float32, torch.device("cpu"))
    assert 0.1 * rate < machine.flops["float32"] < 10 * rate
    assert machine.memory > 2**26 and machine.disk > 0 and machine.memory_rate > 1e8


def test_the_command_prints_a_table_and_says_no(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "stages"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    save_model(tmp_path / "tiny", "qwen2", tokenizer)
    text = (ROOT / "params.yaml").read_text()
    own = "dtype: float32, layers: [1, 3], strength: 4, filler: original, contrast: null"
    tiny = f"models:\n  tiny: {{source: tiny, {own}}}\n"
    tiny += f"  gone: {{source: ./gone, {own}}}\n"
    text = text.replace("\nmodels:\n", "\n" + tiny, 1).replace(
        "models: [organism, organism-blind, smollm2-135m]", "models: [tiny, gone]"
    )
    (tmp_path / "params.yaml").write_text(text)
    from stages.plan import main

    result = CliRunner().invoke(main)
    assert result.exit_code == 1, result.output
    assert "tiny: " in result.output and "yes: weights" in result.output
    assert "gone: NO: ./gone" in result.output and "1 of 2 models cannot run here" in result.output
    lines = [line.split() for line in result.output.splitlines() if line.startswith("  ")]
    names = [line[0] for line in lines]
    first_words = [name.split("_")[0] for name in experiments_with("measure")]
    assert names[names.index("stage") :] == ["stage", "vectors", "vectors:", *first_words, "all"]


# On several actors


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=30), st.integers(1, 8))
def test_a_schedule_is_what_idle_actors_make_of_it(seconds: list[float], actors: int) -> None:
    """Played through, a moment at a time; and within Graham's bound of the best that any order could give."""
    waiting, running, clock = list(reversed(seconds)), [], 0.0
    while waiting or running:
        while waiting and len(running) < actors:
            running.append(clock + waiting.pop())
        clock = min(running)
        running.remove(clock)
    found = makespan(seconds, actors)
    assert found == pytest.approx(clock)
    best = max(max(seconds), sum(seconds) / actors)
    assert best <= found * (1 + 1e-9) and found <= (2 - 1 / actors) * best * (1 + 1e-9)


def test_more_gpus_cost_less_until_something_else_limits(
    tmp_path: Path, tokenizer: Tokenizer, stimuli: Stimuli
) -> None:
    settings = settings_of(save_model(tmp_path / "m", "qwen2", tokenizer))
    gpu = replace(MACHINE, accelerators=(8 * 2**30,), accelerator_name="a GPU")
    slow = replace(gpu, flops={"float32": 1e6})  # so slow that nothing but arithmetic counts
    few = settings.model_copy(update={"engine": settings.engine.model_copy(update={"tokens_per_batch": BATCH})})
    plan = plan_model(few, "tiny", stimuli, SUFFIXES, PROMPTS, slow)
    one, eight, many = ({each.part: each for each in prices(plan, slow, "float32", n)} for n in (1, 8, 10_000))
    assert set(one) == {"the study", "the population", "the sweep"}
    alone = sum(sum(_seconds_of_batches(stage, plan, slow)) for stage in plan.stages)
    assert sum(each.seconds - each.loading for each in one.values()) == pytest.approx(alone)
    for part in one:
        assert one[part].limit == "arithmetic" and one[part].idle == pytest.approx(0, abs=1e-9)
        assert one[part].seconds / 8 <= eight[part].seconds <= one[part].seconds
        assert many[part].limit == f"{many[part].batches} batches at the most: lower engine.tokens_per_batch"
    fast = replace(gpu, flops={"float32": 1e30}, memory_rate=1e30, host_rate=1e30)
    quick = plan_model(few, "tiny", stimuli, SUFFIXES, PROMPTS, fast)
    assert {each.limit for each in prices(quick, fast, "float32", 2)} == {"weights read from disk"}


def _seconds_of_batches(stage: Stage, plan: ModelPlan, machine: Machine) -> list[float]:
    rate = machine.flops["float32"]
    return [seconds_of(work, plan.shape, plan.placement, machine, rate) for run in stage.runs for work in run]
