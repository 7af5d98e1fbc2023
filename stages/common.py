"""What every stage does around its work: validate the parameters, say what is wrong in a line, stop when it is told to.

Every stage imports this before anything that takes long. No model library is loaded here, so that a stage that reads
result files alone starts at once. Nothing here changes a number, so it is no dependency of the stages in dvc.yaml.
"""

from __future__ import annotations

import functools
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from introspection.files import RESULTS, read_json
from introspection.settings import ContrastSettings, ModelSettings, Settings, SettingsError, load_settings
from introspection.settings.organisms import Family

PARAMS = Path("params.yaml")
CONTRAST_PROMPTS = Path("data/raw/contrast_prompts.csv")
PAPER = Path("paper")

INTERRUPTED = 130  # the exit status of what Ctrl-C has stopped
_PATIENCE = 1.0  # seconds that a stage has to clean up after Ctrl-C


def _stop(*_: Any) -> NoReturn:
    """Say how to go on, and end at once: what is unfinished is no result, and the next run deletes it."""
    os.write(2, b"\nstopped; results that are whole stay, and `dvc repro` goes on from there\n")
    os._exit(INTERRUPTED)


def _stop_in_time() -> None:
    """Have Ctrl-C end this process within two seconds, while modules are imported or a long computation runs too.

    Python itself looks at signals between two of its instructions alone; the number of one is written to a socket at
    once, and a thread reads it there.
    """
    reads, writes = socket.socketpair()
    writes.setblocking(False)
    signal.set_wakeup_fd(writes.fileno(), warn_on_full_buffer=False)

    def watch() -> None:
        for number in iter(lambda: reads.recv(1), b""):  # until the process ends by itself
            if number[0] == signal.SIGINT:
                threading.Event().wait(_PATIENCE)
                _stop()

    threading.Thread(target=watch, daemon=True).start()
    usual = sys.excepthook
    sys.excepthook = lambda kind, *rest: _stop() if kind is KeyboardInterrupt else usual(kind, *rest)


if Path(sys.argv[0]).resolve().parent == Path(__file__).resolve().parent:  # and not in a test's process
    _stop_in_time()

# What a user can mend: bad parameters, missing files, models out of reach, numbers that are not finite.
_EXPLAINED = (ValueError, OSError, RuntimeError, ArithmeticError)


def stage(function: Callable[..., None]) -> click.Command:
    """A click command that validates `params.yaml` first and ends with one clear line when something is wrong.

    The function is given the validated settings before its own arguments.
    """

    @functools.wraps(function)
    def run(*args: Any, **named: Any) -> None:
        try:
            function(load_settings(PARAMS), *args, **named)
        except SettingsError as error:
            raise click.ClickException(str(error)) from error
        except _EXPLAINED as error:
            if os.environ.get("INTROSPECTION_TRACEBACK"):
                raise
            raise click.ClickException(f"{error} (INTROSPECTION_TRACEBACK=1 shows where)") from error
        except KeyboardInterrupt:
            _stop()

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    return click.command()(run)


@contextmanager
def reading(settings: Settings, stage_name: str, model: str, *sources: Path) -> Iterator[None]:
    """Inside the context batches are read by whom params.yaml names, and kept until the stage ends well.

    So a stage that was stopped goes on where it was. sources: the folders of a model that has no `model.json`.
    """
    from introspection.engine.kept import kept_in

    with ExitStack() as stack:
        if settings.engine.executor == "ray":
            from introspection.engine.on_ray import on_ray

            stack.enter_context(on_ray(settings.engine))
        path, identity = RESULTS / model / "model.json", ""
        if sources:
            from introspection.sources.provenance import provenance

            identity = repr([provenance(source.as_posix(), None) for source in sources])
        elif path.is_file():
            identity = path.read_text(encoding="utf-8")
        stack.enter_context(kept_in(Path(".work/read") / stage_name / model, identity))
        yield


def model_of(settings: Settings, key: str) -> ModelSettings:
    """The settings of a model. Raises SettingsError for a key that is not there."""
    if key not in settings.models:
        raise SettingsError(f"{PARAMS}: models has no key {key!r}; it has {', '.join(settings.models)}")
    return settings.models[key]


def organism_folder(settings: Settings, family: Family, name: str) -> Path:
    """Where an organism lies. Raises SettingsError for a name that its family does not have."""
    organisms, models = settings.organisms, Path("models")
    if family == "trained":
        known, called, folder = list(organisms.trained), name, models
    else:  # a rule and a seed
        known, called, folder = list(organisms.zoos[family].rules), name.rpartition("-")[0], models / family
    if called not in known:
        raise SettingsError(f"{PARAMS}: organisms.{family} has no {called!r}; it has {', '.join(known) or 'none'}")
    return folder / name


def pinned(settings: Settings, key: str) -> ModelSettings:
    """The model at the commit of the hub that the stage `model` found, so that all stages load the same."""
    model_settings = model_of(settings, key)
    path, remedy = RESULTS / key / "model.json", f"make it with `dvc repro model@{key}`"
    found = read_json(path, dict[str, Any], remedy) if path.is_file() else {}
    contrast = model_settings.contrast
    if contrast:
        model_settings = model_settings.model_copy(
            update={"contrast": _at_commit(contrast, found.get("contrast") or {})}
        )
    pinned_model: ModelSettings = _at_commit(model_settings, found)
    return pinned_model


def _at_commit(asked: Any, found: Mapping[str, Any]) -> Any:
    place = asked.place if isinstance(asked, ContrastSettings) else asked.source
    same = (found.get("source"), found.get("revision")) == (place, asked.revision)
    return asked.model_copy(update={"revision": found["commit"]}) if same and found.get("commit") else asked
