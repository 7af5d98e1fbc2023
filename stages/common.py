"""What every stage does around its work: validate the parameters, say what is wrong in a line, stop when it is told to.

Every stage imports this before anything that takes long. No model library is loaded here, so that a stage that reads
result files alone starts at once. Nothing here changes a number, so it is no dependency of the stages in dvc.yaml.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import click
from stopping import stop

from introspection.files import RESULTS, read_json
from introspection.settings import ContrastSettings, ModelSettings, Settings, SettingsError, load_settings
from introspection.settings.organisms import Family
from introspection.terminal import printable

PARAMS = Path("params.yaml")
CONTRAST_PROMPTS = Path("data/raw/contrast_prompts.csv")
PAPER = Path("paper")

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
            raise click.ClickException(printable(str(error))) from error
        except _EXPLAINED as error:
            if os.environ.get("INTROSPECTION_TRACEBACK"):
                raise
            raise click.ClickException(printable(f"{error} (INTROSPECTION_TRACEBACK=1 shows where)")) from error
        except KeyboardInterrupt:
            stop()
        except click.ClickException:
            raise
        except Exception as error:  # a fault of the code, or a broken file that its reader has let pass
            traceback.print_exc()
            name = os.environ.get("DVC_STAGE") or Path(sys.argv[0]).name
            raise click.ClickException(
                f"{name} ended at a fault of its code, which is above, or of a file that it reads: "
                "`git status` names those that were changed"
            ) from error

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


def tell_of_committed(folder: Path) -> None:
    """Before it is trained anew: say what brings committed weights back, where others or none are in their place."""
    with suppress(FileNotFoundError):  # git itself
        status = ["git", "--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--", str(folder)]
        if subprocess.run(status, capture_output=True).stdout:
            told = f"{folder} is not what was committed, and is trained anew; `git checkout {folder}` brings that back"
            click.echo(told, err=True)


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


CHECKSUMS = Path(".work/checksums")  # of models' files


def pinned(settings: Settings, key: str) -> ModelSettings:
    """The model at the commit of the hub that the stage `model` found, so that all stages load the same.

    Raises SourceError where its files on this machine are others than that stage found.
    """
    from introspection.sources.unchanged import Recorded, check_unchanged, kept_checksum

    model_settings = model_of(settings, key)
    path, remedy = RESULTS / key / "model.json", f"make it with `dvc repro model@{key}`"
    if not path.is_file():
        return model_settings
    contrast, found = model_settings.contrast, read_json(path, dict[str, Any], remedy)
    recorded = read_json(path, Recorded, remedy)
    for place, part in ((model_settings.source, recorded), (contrast and contrast.place, recorded.contrast)):
        if part is not None and part.source == place:
            check_unchanged(
                part,
                kept_checksum(CHECKSUMS),
                f"written down in {path}; put back what was there, or take it as it is now with "
                f"`dvc repro -f -s model@{key}`, after which `dvc repro` measures it anew",
            )
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
