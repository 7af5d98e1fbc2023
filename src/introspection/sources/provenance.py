"""Where exactly a model's weights are from, for its result files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from introspection.sources.gguf import content_of, gguf_path, sha256_of
from introspection.sources.origin import origin_of

Checksum = Callable[[Path], str]


def provenance(source: str, revision: str | None, checksum: Checksum = sha256_of) -> dict[str, Any]:
    """Checksums of a source's local files by name; `gguf`, how a GGUF file is quantised; `origin`, of a fetched model.

    The last two only where they apply. Raises SourceError for a GGUF file that is missing or cannot be read.
    """
    files = {path.name: checksum(path) for path in local_files(source, revision)}
    weights = gguf_path(source, revision)
    if weights is not None:
        return {"files": files, "gguf": content_of(weights).described()}
    origin = origin_of(Path(source))
    return {"files": files} | ({} if origin is None else {"origin": origin})


def local_files(source: str, revision: str | None) -> list[Path]:
    """The files on this machine that a source is: a GGUF file, or all of a folder; of an id of the hub, none.

    Raises SourceError for a GGUF file that is missing.
    """
    weights = gguf_path(source, revision)
    if weights is not None:
        return [weights]
    return [path for path in sorted(Path(source).glob("*")) if path.is_file()]
