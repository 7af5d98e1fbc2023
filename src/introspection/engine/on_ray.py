"""Batches read by actors of a Ray cluster, each of which holds the model, on as many GPUs and machines as it has.

Ray places the actors, starts one again that has died, and gives its batch to it once more. What a batch gives depends
on the batch alone, so it makes no difference who reads it, and when.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.utils import logging as transformers_logging

from introspection.engine.executor import executed_by
from introspection.engine.memory import tokens_that_fit
from introspection.engine.reading import Reading, read
from introspection.model.language_model import AdapterSource, LanguageModel, ModelError
from introspection.model.loading import load_model
from introspection.model.switching import attach_adapter, detach_adapter, switch_adapter
from introspection.settings import EngineSettings, ModelSettings, SettingsError

ATTEMPTS = 3  # of a batch whose actor dies, after the first


class Actor:
    """A process that holds a model and reads batches on it."""

    def __init__(self, settings: ModelSettings, folder: str, threads: int) -> None:
        if not Path(folder).is_dir():
            raise ModelError(f"{folder}: is not on this machine; a checkout must lie in the same folder on all of them")
        os.chdir(folder)
        torch.set_num_threads(threads)
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        self._model = load_model(settings)

    def tokens(self) -> int:
        """How many tokens the memory at hand holds."""
        return tokens_that_fit(self._model)

    def process(self) -> int:
        """The number of the process."""
        return os.getpid()

    def read(self, number: int, reading: Reading, adapter: AdapterSource | None) -> tuple[int, NDArray[Any], float]:
        """The reading's number, its states, and how many seconds they took."""
        self._put_on(adapter)
        begun = time.perf_counter()
        states = read(self._model, reading).numpy()
        return number, states, time.perf_counter() - begun

    def _put_on(self, adapter: AdapterSource | None) -> None:

        model = self._model
        if adapter is not None and model.attached != adapter:
            detach_adapter(model)
            attach_adapter(model, *adapter)
        if model.attached is not None:
            switch_adapter(model, adapter is not None)


class Actors:
    """Actors that all hold one model; another one takes their place when it is asked for.

    seconds: what each batch took, of every actor, as they came.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._of: ModelSettings | None = None
        self.handles: list[Any] = []
        self.seconds: list[float] = []

    def tokens(self, model: LanguageModel) -> int:
        """What the smallest memory holds."""
        import ray

        return int(min(ray.get([actor.tokens.remote() for actor in self._holding(model)])))

    def read(self, model: LanguageModel, readings: Sequence[Reading]) -> Iterator[tuple[int, Tensor]]:
        """In the order in which they are done, whoever is idle being given the next.

        Raises what reading raises, and RuntimeError where the actor of a batch has died again and again.
        """
        from ray.exceptions import RayActorError, RayTaskError
        from ray.util import ActorPool

        pool = ActorPool(self._holding(model))
        items = [(number, reading, model.adapter) for number, reading in enumerate(readings)]
        try:
            for number, states, seconds in pool.map_unordered(lambda actor, item: actor.read.remote(*item), items):
                self.seconds.append(seconds)
                yield number, torch.from_numpy(states.copy())
        except RayTaskError as error:
            raise error.cause from None
        except RayActorError as error:
            raise RuntimeError(
                f"an actor that held {model.name} died, and {ATTEMPTS} more after it; what was read is kept, so the "
                f"next run goes on from there ({' '.join(str(error).split())[:300]})"
            ) from error

    def close(self) -> None:
        """Let the actors go, and their memory."""
        import ray

        for actor in self.handles:
            ray.kill(actor)
        self.handles, self._of = [], None

    def _holding(self, model: LanguageModel) -> list[Any]:
        """The actors that hold this model."""
        if model.settings is None:
            raise ModelError(f"{model.name}: lies in this process alone, so actors cannot load it; set executor: local")
        if model.settings != self._of:
            self.close()
            self.handles, self._of = self._started(model.settings), model.settings
        return self.handles

    def _started(self, settings: ModelSettings) -> list[Any]:
        import ray

        cluster = ray.cluster_resources()
        gpus = self._settings.gpus_per_actor if cluster.get("GPU") else 0
        machines = sum(node["Alive"] for node in ray.nodes())
        count = self._settings.actors or (int(cluster["GPU"]) // gpus if gpus else machines)
        if count < 1 or count * gpus > cluster.get("GPU", 0):
            raise SettingsError(
                f"params.yaml: engine: found {count or 'no'} actors of {gpus} GPUs; the cluster has "
                f"{int(cluster['GPU'])} GPUs: lower actors or gpus_per_actor"
            )
        processors = cluster["CPU"] / count
        kind = ray.remote(Actor).options(
            num_gpus=gpus,
            num_cpus=int(processors) if processors >= 1 else processors,
            max_restarts=ATTEMPTS,
            max_task_retries=ATTEMPTS,
        )
        return [kind.remote(settings, str(Path.cwd()), max(1, int(processors))) for _ in range(count)]


@contextmanager
def on_ray(settings: EngineSettings) -> Iterator[Actors]:
    """Inside the context batches are read by actors of the cluster that the settings name.

    This process holds the model too, for what is no batch (a finetune's turn 1, replies), in host memory: the GPUs are
    the actors'. Raises SettingsError where Ray is not installed or the cluster is out of reach.
    """
    if importlib.util.find_spec("ray") is None:
        raise SettingsError(
            "params.yaml: engine.executor: found ray, which is not installed; `pip install '.[ray]'`, or set local"
        )
    import ray

    os.environ.setdefault(
        "RAY_worker_niceness", "0"
    )  # of a cluster that begins here: actors do what this process waits for
    address = settings.address or os.environ.get("RAY_ADDRESS") or "local"
    try:
        ray.init(address=address, include_dashboard=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise SettingsError(
            f"params.yaml: engine.address: no cluster answers at {address}; start one with `ray start --head` "
            f"({' '.join(str(error).split())[:200]})"
        ) from error
    actors = Actors(settings)
    try:
        with _without_gpus(), executed_by(actors):
            yield actors
    finally:
        actors.close()
        ray.shutdown()


@contextmanager
def _without_gpus() -> Iterator[None]:
    """This process sees no GPU. It must not have used one before."""
    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    os.environ[name] = ""
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
