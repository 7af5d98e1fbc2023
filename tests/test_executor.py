"""Who reads the batches, and what is kept of them: in this process, and by actors of a Ray cluster."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

import introspection
from introspection.engine import executor as executors
from introspection.engine.executor import executor
from introspection.engine.kept import code, kept_in
from introspection.engine.on_ray import Actors, on_ray
from introspection.engine.reading import NotFiniteError, Reading, read
from introspection.engine.run import prefill, run_prefilled, run_trials
from introspection.engine.trial import Injection, Trial
from introspection.model.language_model import LanguageModel, ModelError
from introspection.model.switching import adapted, attach_adapter
from introspection.settings import SettingsError
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Stimuli
from tests.conftest import ROOT
from tests.driver import BATCH, directions_of, settings_of, states, trials_of
from tests.small_models import load, save_model


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Reading]:
    """What this process has read."""
    readings: list[Reading] = []

    def counted(model: LanguageModel, reading: Reading) -> torch.Tensor:
        readings.append(reading)
        return read(model, reading)

    monkeypatch.setattr(executors, "read", counted)
    return readings


# What is kept


def test_what_is_kept_is_of_these_vectors_this_model_and_this_code(
    qwen2: LanguageModel, stimuli: Stimuli, tmp_path: Path, ran: list[Reading]
) -> None:
    plain = states(qwen2, stimuli)
    batches = len(ran)
    with _stopped(), kept_in(tmp_path, "a"):
        assert torch.equal(states(qwen2, stimuli), plain)
        assert torch.equal(states(qwen2, stimuli), plain) and len(ran) == 2 * batches
        other = states(qwen2, stimuli, seed=8)
        assert not torch.equal(other, plain) and len(ran) == 3 * batches
        raise _Stopped
    with _stopped(), kept_in(tmp_path, "b"):
        assert torch.equal(states(qwen2, stimuli), plain) and len(ran) == 4 * batches
        raise _Stopped
    with kept_in(tmp_path, "a"):
        assert torch.equal(states(qwen2, stimuli, seed=8), other) and len(ran) == 4 * batches
    assert not tmp_path.exists()


def test_an_adapter_and_another_prefill_are_told_apart(
    adapter: tuple[Path, Path], stimuli: Stimuli, tmp_path: Path, ran: list[Reading]
) -> None:
    base, folder = adapter
    model = load(base)
    attach_adapter(model, str(folder))
    text = encode(model.tokenizer, stimuli.detection["no_info"])
    with kept_in(tmp_path, ""):
        without = states(model, stimuli)
        turn_1 = prefill(model, text.token_ids[: text.steered[1]])
        rest = [text.token_ids[text.steered[1] :]]
        after = run_prefilled(model, [turn_1], rest)
        with adapted(model):
            assert not torch.allclose(states(model, stimuli), without)
            other = prefill(model, turn_1.token_ids)
        read_before = len(ran)
        assert not torch.allclose(run_prefilled(model, [other], rest), after) and len(ran) == read_before + 1
        assert torch.equal(run_prefilled(model, [turn_1], rest), after) and len(ran) == read_before + 1
        assert torch.equal(states(model, stimuli), without)


def test_a_run_goes_on_with_the_batches_that_it_began_with_and_reads_a_damaged_one_again(
    qwen2: LanguageModel, stimuli: Stimuli, tmp_path: Path, ran: list[Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    def both() -> torch.Tensor:
        return run_trials(qwen2, trials_of(qwen2, stimuli), directions_of(qwen2), layers=[5])

    monkeypatch.setattr(executors, "tokens_that_fit", lambda _: BATCH)
    with _stopped(), kept_in(tmp_path, ""):
        first = both()
        raise _Stopped
    batches = len(ran)
    monkeypatch.setattr(executors, "tokens_that_fit", lambda _: 40_000)
    damaged = sorted(tmp_path.glob("*.states"))[0]
    whole = damaged.read_bytes()
    flipped = bytearray(whole)
    flipped[-3] ^= 1  # a bit of a number, which no format of a file would notice
    for again, content in enumerate((whole[:-7], b"", b"no tensors", bytes(flipped)), start=1):
        damaged.write_bytes(content)
        with _stopped(), kept_in(tmp_path, ""):
            assert torch.equal(both(), first) and len(ran) == batches + again
            raise _Stopped


def test_what_is_kept_is_of_the_precision_it_was_read_in(
    qwen2: LanguageModel, stimuli: Stimuli, tmp_path: Path, ran: list[Reading]
) -> None:
    coarse = LanguageModel(copy.deepcopy(qwen2.model).to(torch.bfloat16), qwen2.tokenizer)
    with kept_in(tmp_path, ""):
        fine = run_trials(qwen2, trials_of(qwen2, stimuli), directions_of(qwen2), layers=[5])
        read_before = len(ran)
        other = run_trials(coarse, trials_of(qwen2, stimuli), directions_of(qwen2), layers=[5])
        assert len(ran) == 2 * read_before and not torch.equal(fine, other)


def test_what_is_kept_is_of_all_code_that_computes_a_state() -> None:
    package = Path(introspection.__file__).parent
    for module in ("files.py", "steering.py", "engine/run.py", "engine/passes.py", "model/loading.py"):
        assert (package / module).read_text(encoding="utf-8") in code(), module


@pytest.mark.parametrize("content", [b"", b'{"a', b"-5", b"1000000000"])
def test_a_damaged_size_of_batches_is_found_anew(
    content: bytes, qwen2: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "tokens_that_fit", lambda _: BATCH)
    with _stopped(), kept_in(tmp_path, ""):
        assert executor().tokens(qwen2) == BATCH
        raise _Stopped
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(content)
    with kept_in(tmp_path, ""):
        assert executor().tokens(qwen2) == BATCH


class _Stopped(Exception):
    pass


@contextmanager
def _stopped() -> Iterator[None]:
    with pytest.raises(_Stopped):
        yield


# Actors


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> tuple[Path, Path]:
    """A model, and an adapter of random maps on it."""
    folder = tmp_path_factory.mktemp("adapter")
    base = save_model(folder / "base", "llama", tokenizer)
    torch.manual_seed(0)
    maps = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), maps).save_pretrained(folder / "adapter")
    return base, folder / "adapter"


@pytest.fixture(scope="module")
def actors() -> Iterator[Actors]:
    """Two actors."""
    with on_ray(settings_of(2)) as found:
        yield found


@contextmanager
def _here() -> Iterator[None]:
    with executors.executed_by(executors.Here()):
        yield


def test_actors_read_what_this_process_reads_an_adapter_and_prefills_included(
    actors: Actors, adapter: tuple[Path, Path], stimuli: Stimuli
) -> None:
    assert executor() is actors
    base, folder = adapter
    model = load(base)
    attach_adapter(model, str(folder))
    text = encode(model.tokenizer, stimuli.detection["no_info"])
    rest = [text.token_ids[text.steered[1] :]]

    def all_of_it() -> list[torch.Tensor]:
        with adapted(model):
            on = states(model, stimuli)
            turn_1 = prefill(model, text.token_ids[: text.steered[1]])
        return [on, states(model, stimuli), run_prefilled(model, [turn_1], rest)]

    with _here():
        expected = all_of_it()
    begun = len(actors.seconds)
    for found, wanted in zip(all_of_it(), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(expected[0], expected[1]), "the adapter changes something"
    assert len(actors.seconds) > begun + 10 and len(actors.handles) == 2


def test_an_actor_that_is_killed_in_the_middle_loses_nothing(
    actors: Actors, adapter: tuple[Path, Path], stimuli: Stimuli
) -> None:
    import ray

    model = load(adapter[0])
    with _here():
        expected = states(model, stimuli)
    torch.testing.assert_close(states(model, stimuli), expected, atol=1e-5, rtol=1e-5)
    process = ray.get(actors.handles[0].process.remote())
    begun = len(actors.seconds)

    def kill() -> None:
        while len(actors.seconds) < begun + 2:
            time.sleep(0.001)
        os.kill(process, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    torch.testing.assert_close(states(model, stimuli), expected, atol=1e-5, rtol=1e-5)
    killer.join()
    assert ray.get(actors.handles[0].process.remote()) != process, "another process has taken its place"


def test_what_is_wrong_in_an_actor_is_said_as_it_is_here(actors: Actors, adapter: tuple[Path, Path]) -> None:
    model = load(adapter[0])
    broken = {"random_1": {k: np.full(32, 1e38, np.float32) for k in range(1, 5)}}
    row = Trial(tuple(range(20)), (2, 10), (Injection("random_1", 1e38, 1, 3),))
    with pytest.raises(NotFiniteError, match=r"^the residual stream at layer \d+ .*random_1.*20 tokens"):
        run_trials(model, [row], broken)
    with pytest.raises(ModelError, match="lies in this process alone"):
        run_trials(LanguageModel(model.model, model.tokenizer), [row], broken)


def test_a_killed_driver_goes_on_where_it_was(
    actors: Actors, adapter: tuple[Path, Path], stimuli: Stimuli, tmp_path: Path
) -> None:
    """The driver and all that it has started are killed, as with a machine that goes down."""
    kept = tmp_path / "kept"
    driver = subprocess.Popen([sys.executable, "-m", "tests.driver", str(adapter[0]), str(kept)], cwd=ROOT)
    while len(list(kept.glob("*.states"))) < 3:
        assert driver.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    for process in [*psutil.Process(driver.pid).children(recursive=True), psutil.Process(driver.pid)]:
        process.kill()
    driver.wait()
    there, begun = len(list(kept.glob("*.states"))), len(actors.seconds)
    model = load(adapter[0])
    with _here():
        expected = states(model, stimuli)
    with kept_in(kept, "driver"):
        torch.testing.assert_close(states(model, stimuli), expected, atol=1e-5, rtol=1e-5)
        assert len(list(kept.glob("*.states"))) == there + len(actors.seconds) - begun, "none was read twice"
    assert there >= 3


def test_more_actors_than_gpus_and_a_cluster_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, qwen2: LanguageModel, actors: Actors
) -> None:
    import ray

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 4.0})
    with pytest.raises(SettingsError, match=r"found 3 actors of 2 GPUs; the cluster has 4 GPUs"):
        Actors(settings_of(3, gpus_per_actor=2)).tokens(qwen2)
    with pytest.raises(SettingsError, match=r"found no actors of 8 GPUs; the cluster has 4 GPUs"):
        Actors(settings_of(None, gpus_per_actor=8)).tokens(qwen2)
    monkeypatch.setattr(ray, "init", _no_cluster)
    with (
        pytest.raises(SettingsError, match=r"no cluster answers at 127\.0\.0\.1:1"),
        on_ray(settings_of(1, address="127.0.0.1:1")),
    ):
        pass


def _no_cluster(**_: object) -> None:
    raise ConnectionError("nobody is there")
