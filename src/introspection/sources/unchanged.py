"""Whether a model's files are still those that were written down in its `model.json`, at little cost."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from introspection.sources.errors import SourceError
from introspection.sources.gguf import sha256_of
from introspection.sources.provenance import Checksum, local_files

_SETTLED = 2 * 10**9  # nanoseconds after which another change of a file has another time, on any file system


@dataclass(frozen=True)
class Recorded:
    """What `model.json` says of the files of a model, of the one that it is an adapter on, and of its finetune."""

    source: str
    revision: str | None = None
    commit: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    base: Recorded | None = None
    contrast: Recorded | None = None


def kept_checksum(folder: Path, anew: bool = False) -> Checksum:
    """`sha256_of`, which is kept in `folder` and computed once for a file that stays as it is.

    A file is known by its path, size, inode and the times of its last changes. anew: what is kept is not taken.
    """

    def checksum(path: Path) -> str:
        status = path.stat()
        times = (status.st_mtime_ns, status.st_ctime_ns)
        known_by = repr((str(path.resolve()), status.st_size, status.st_ino, *times))
        kept = folder / hashlib.sha256(known_by.encode(errors="surrogateescape")).hexdigest()
        if not anew and (found := _kept_in(kept)):
            return found
        computed = sha256_of(path)
        if time.time_ns() - max(times) > _SETTLED:
            folder.mkdir(parents=True, exist_ok=True)
            kept.write_text(computed, encoding="ascii")  # one that is cut short is no checksum, and computed again
        return computed

    return checksum


def _kept_in(path: Path) -> str | None:
    try:
        found = path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    return found if re.fullmatch("[0-9a-f]{64}", found) else None


def check_unchanged(recorded: Recorded, checksum: Checksum, remedy: str) -> None:
    """Raise SourceError for a file of a model, or of its base, that is not the one written down, gone or new.

    Hidden files, which file managers leave, are no part of a model. remedy: the end of the message, after "was".
    """
    found = {path.name: path for path in local_files(recorded.source, recorded.commit or recorded.revision)}
    for name in sorted({*found, *recorded.files}):
        what = _other(found.get(name), recorded.files.get(name), checksum)
        if what and not name.startswith("."):
            raise SourceError(f"{found.get(name, Path(recorded.source, name))}: {what} since its model was {remedy}")
    if recorded.base is not None:
        check_unchanged(recorded.base, checksum, remedy)


def _other(path: Path | None, recorded: str | None, checksum: Checksum) -> str | None:
    """What has become of a file; None where it is as it was."""
    if path is None:
        return "is gone"
    if recorded is None:
        return "is new"
    return "has changed" if checksum(path) != recorded else None
