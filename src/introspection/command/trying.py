"""introspection try: one injection, both arms side by side."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import click

from introspection.command.explained import explained

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("try")
@click.argument("model")
@click.option("--concept", metavar="WORDS", help="Train the vector of a concept, and keep it.")
@click.option("--vector", metavar="FILE", type=_FILE, help="A GGUF file of llama.cpp's or repeng's.")
@click.option("--random", metavar="SEED", type=int, help="A direction that means nothing.")
@click.option("--negated", is_flag=True, help="The vector reversed.")
@click.option("--layers", metavar="FIRST:LAST", help="Decoder blocks, inclusive; the model's own by default.")
@click.option("--strength", metavar="S", help="A number, of_norm=FRACTION or calibrated; the model's own by default.")
@click.option("--prompt", metavar="NAME", help="A prompt of the study; that of the control questions by default.")
@click.option("--turn-1", metavar="TEXT", help="What the user says while the vector is injected.")
@click.option("--turn-2", metavar="TEXT", help="What the user asks afterwards, to be answered yes or no.")
@click.option("--questions", metavar="N", default=4, show_default=True, help="Control questions of each right answer.")
@click.option("--new-tokens", metavar="N", default=24, show_default=True, help="The length of replies; 0: none.")
@click.option("--save", metavar="FILE", type=_FILE, help="Write the vector as GGUF, for llama.cpp and repeng.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def try_(model: str, layers: str | None, strength: str | None, save: Path | None, as_json: bool, **asked: Any) -> None:
    """Inject a vector into MODEL while it reads turn 1, and ask whether it noticed.

    MODEL is a key of `models` in params.yaml, a folder, a GGUF file, or a hub id. Give one of --concept, --vector and
    --random. What is wrong with a request shows before weights are read.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with explained():
        # not above: torch takes seconds to import, which --help and `introspection compare` need not wait for
        from rich.console import Console

        from introspection import workbench
        from introspection.workbench.display import show
        from introspection.workbench.request import Request, check, layers_of, strength_of

        request = Request(
            layers=None if layers is None else layers_of(layers),
            strength=None if strength is None else strength_of(strength),
            **asked,
        )
        clock = _Clock()
        subject = workbench.open_model(model)
        check(subject, request)
        if request.concept is None:
            workbench.vector_of(subject, request)  # what is wrong with a file shows before weights are read
        subject = subject.loaded()
        clock.lap("model loaded")
        vector = workbench.vector_of(subject, request)
        clock.lap("vector made or found")
        if save is not None:
            workbench.save(vector, save)
        outcome = workbench.inject(subject, request, vector)
        clock.lap("both arms read")
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(outcome), indent=2, ensure_ascii=False, allow_nan=False))
        return
    console = Console()
    show(outcome, console)
    console.print(clock.told, style="dim")


class _Clock:
    """How long each step took."""

    def __init__(self) -> None:
        self._last, self._laps = time.perf_counter(), list[str]()

    def lap(self, name: str) -> None:
        """End a step."""
        now = time.perf_counter()
        self._laps.append(f"{name} in {now - self._last:.1f} s")
        self._last = now

    @property
    def told(self) -> str:
        """All steps in a line."""
        return ", ".join(self._laps)
