"""Run stages in processes that fork from one in which the libraries are imported: 10 s each on a slow machine.

    python scripts/forked_stages.py REPLIES BEFORE < REQUESTS

REQUESTS: a line of JSON for each stage, its script, arguments, folder and environment. REPLIES: the number of an open
file, to which the exit status of each is written, a line each. BEFORE: the number of the stage before which the
libraries are imported; those before it import what they need themselves, which one alone does sooner. Nothing of the
project is imported here.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

INTERRUPTED = 130  # the exit status of what Ctrl-C has stopped

SHARED = (
    "torch",
    "transformers",
    "transformers.modeling_utils",
    "transformers.models.llama.modeling_llama",
    "transformers.models.qwen2.modeling_qwen2",
    "accelerate",
    "peft",
    "gguf",
    "pandas",
    "pandera.pandas",
    "seaborn",
    "statsmodels.stats.proportion",
    "sklearn.decomposition",
    "scipy.stats",
)
"""What takes seconds to import and is none of the project. Importing them starts no thread, so that forking is safe."""


def import_shared() -> None:
    """Import them, and let no collection in a child copy what all share."""
    for module in SHARED:
        import_module(module)
    gc.freeze()


def leave(function: Callable[[], None]) -> NoReturn:
    """Call it and end with its status as the interpreter would, without taking down the libraries: seconds each."""
    status = 1
    try:
        function()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        status = INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
        sys.excepthook(type(error), error, error.__traceback__)  # the stage's own, which may end it
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run(script: str, arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Run the script as the interpreter would."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).parent.resolve())
    sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    runpy.run_path(script, run_name="__main__")


def _stop(*_: Any) -> NoReturn:
    """What a stage does (`stages/stopping.py`), while there is none yet."""
    os.write(2, b"\nstopped; results that are whole stay, and `dvc repro` goes on from there\n")
    os._exit(INTERRUPTED)


def main(replies: int, before: int) -> None:
    """Run what is asked for, one stage after another, until there is nothing more to read."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the stage says that it was stopped
    with os.fdopen(replies, "w") as told:
        for number, line in enumerate(sys.stdin, start=1):
            if number == before:
                signal.signal(signal.SIGINT, _stop)
                import_shared()
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            request = json.loads(line)
            child = os.fork()
            if not child:
                leave(lambda: run(*request))  # noqa: B023
            told.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
            told.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
