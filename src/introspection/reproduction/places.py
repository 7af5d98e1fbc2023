"""Where the other results are: in a folder, or in a revision of this repository."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from introspection.files import RESULTS


class PlaceError(ValueError):
    """There are no such results; the message says what was looked for and what can be given."""


@contextmanager
def results_of(place: str) -> Iterator[Path]:
    """The folder of results that a folder holds or is, or that git has at a revision (unpacked while this is open).

    Raises PlaceError where there is neither.
    """
    folder = Path(place)
    if folder.is_dir():
        yield _held(folder)
        return
    with tempfile.TemporaryDirectory(prefix="results-") as unpacked:
        archive = _git("archive", "--format=tar", place, RESULTS.as_posix(), place=place)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(unpacked, filter="data")
        yield Path(unpacked) / RESULTS


def _held(folder: Path) -> Path:
    found = folder / RESULTS if (folder / RESULTS).is_dir() else folder
    if not any(found.rglob("*.csv")):
        raise PlaceError(f"{folder}: holds no result file; give a checkout, its results, or a git revision")
    return found


def _git(*arguments: str, place: str) -> bytes:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError as error:
        raise PlaceError(f"{place}: no such folder, and git is not installed; give a folder of results") from error
    if done.returncode:
        reason = " ".join(done.stderr.decode(errors="replace").split())
        raise PlaceError(f"{place}: neither a folder nor a git revision with results ({reason}); give one of these")
    return done.stdout
