"""Where exactly a model's weights are from, for its result files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from introspection.sources.gguf import content_of, gguf_path, sha256_of
from introspection.sources.origin import origin_of


def provenance(source: str, revision: str | None) -> dict[str, Any]:
    """Checksums of a source's local files by name; `gguf`, how a GGUF file is quantised; `origin`, of a fetched model.

    The last two only where they apply. Raises SourceError for a GGUF file that is missing or cannot be read.
    """
    weights = gguf_path(source, revision)
    if weights is not None:
        return {"files": {weights.name: sha256_of(weights)}, "gguf": content_of(weights).described()}
    folder = Path(source)
    files = {path.name: sha256_of(path) for path in sorted(folder.glob("*")) if path.is_file()}
    origin = origin_of(folder)
    return {"files": files} | ({} if origin is None else {"origin": origin})
