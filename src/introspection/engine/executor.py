"""Who reads the batches: this process, or what a context says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from torch import Tensor

from introspection.engine.memory import tokens_that_fit
from introspection.engine.reading import Reading, read
from introspection.model.language_model import LanguageModel


class Executor(Protocol):
    """Reads batches on a model."""

    def tokens(self, model: LanguageModel) -> int:
        """How many tokens a batch may have."""

    def read(self, model: LanguageModel, readings: Sequence[Reading]) -> Iterator[tuple[int, Tensor]]:
        """The number of a reading and what was read, (rows, layers, hidden), as they come."""


class Here:
    """This process, one batch after another."""

    def tokens(self, model: LanguageModel) -> int:
        """What the memory at hand holds."""
        return tokens_that_fit(model)

    def read(self, model: LanguageModel, readings: Sequence[Reading]) -> Iterator[tuple[int, Tensor]]:
        """In their order."""
        for number, reading in enumerate(readings):
            yield number, read(model, reading)


_EXECUTOR: ContextVar[Executor] = ContextVar("executor", default=Here())  # noqa: B039 - it holds nothing


def executor() -> Executor:
    """The one that reads now."""
    return _EXECUTOR.get()


@contextmanager
def executed_by(chosen: Executor) -> Iterator[None]:
    """Inside the context every batch is read by this one."""
    token = _EXECUTOR.set(chosen)
    try:
        yield
    finally:
        _EXECUTOR.reset(token)
