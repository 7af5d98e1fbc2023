"""What was read is kept as it comes, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from introspection.engine.executor import Executor, executed_by, executor
from introspection.engine.reading import Reading
from introspection.files import read_sealed, remove, write_sealed
from introspection.model.language_model import LanguageModel

_STATES = "states"


class Kept:
    """Batches that are read by another executor, each kept in a file of `folder` under a hash of all that it hangs on.

    identity: which model and which code this is.
    """

    def __init__(self, inner: Executor, folder: Path, identity: str) -> None:
        self._inner, self._folder, self._identity = inner, folder, identity

    def tokens(self, model: LanguageModel) -> int:
        """What fits now or, in a run that goes on, what did when it began: other batches would round otherwise."""
        path = self._folder / "tokens_per_batch"
        if (kept := read_sealed(path)) is not None:
            return int(kept)
        tokens = self._inner.tokens(model)
        write_sealed(path, str(tokens).encode())
        return tokens

    def read(self, model: LanguageModel, readings: Sequence[Reading]) -> Iterator[tuple[int, Tensor]]:
        """Those that are kept, and then the others as they come."""
        missing: dict[int, Path] = {}
        for number, reading in enumerate(readings):
            path = self._folder / f"{self._fingerprint(model, reading)}.states"
            kept = read_sealed(path)
            if kept is None:
                missing[number] = path
            else:
                yield number, load(kept)[_STATES]
        numbers = list(missing)
        for place, states in self._inner.read(model, [readings[number] for number in numbers]):
            write_sealed(missing[numbers[place]], save({_STATES: states.contiguous()}))
            yield numbers[place], states

    def _fingerprint(self, model: LanguageModel, reading: Reading) -> str:
        """A hash of everything that what is read depends on."""
        of_model = (self._identity, model.name, str(model.model.dtype), model.adapter, torch.__version__)
        digest = hashlib.sha256(repr((of_model, str(model.device), reading.layers)).encode())
        for row in reading.batch.trials:
            digest.update(repr(row).encode())
        for vector, blocks in sorted(reading.directions.items()):
            for block, direction in sorted(blocks.items()):
                digest.update(f"{vector} {block}".encode() + torch.as_tensor(direction).numpy().tobytes())
        if reading.before is not None:
            for tensor in (*reading.before.keys, *reading.before.values):
                digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


@contextmanager
def kept_in(folder: Path, identity: str) -> Iterator[None]:
    """Keep what is read inside the context until it ends well; after an error or a kill it waits for the next run."""
    with executed_by(Kept(executor(), folder, identity + code())):
        yield
    remove(folder)


def code() -> str:
    """What computes a state, as text: what other code has read is not taken."""
    package = Path(__file__).parents[1]
    modules = [*package.glob("*.py"), *(package / "engine").glob("*.py"), *(package / "model").glob("*.py")]
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(modules))
