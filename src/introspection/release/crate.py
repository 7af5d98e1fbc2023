"""The archive as an RO-Crate: a description of every file that programs can read."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rocrate.model.person import Person
from rocrate.rocrate import ROCrate

from introspection.companion.declarations import reread
from introspection.experiments.declared import measured
from introspection.release.citation import Citation

METADATA = "ro-crate-metadata.json"
_TYPES = {".gguf": "application/octet-stream", ".safetensors": "application/octet-stream", ".yaml": "application/yaml"}


def crate(citation: Citation, description: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The metadata of an archive with these files, by path: size, checksum, and what each table of results holds."""
    made = ROCrate()
    made.name, made.description = f"{citation.title} ({citation.version})", description
    made.license = f"https://spdx.org/licenses/{citation.license}"
    made.datePublished = datetime.combine(citation.released, datetime.min.time())
    made.root_dataset["version"] = citation.version
    for number, person in enumerate(citation.authors, 1):
        author = made.add(Person(made, f"#author-{number}", {"name": person.whole}))
        made.root_dataset.append_to("author", author)
    for reference in citation.references:
        work = {"@id": reference.url, "@type": "CreativeWork", "name": reference.title, "url": reference.url}
        made.root_dataset.append_to("citation", made.add_jsonld(work))
    descriptions = _descriptions()
    for path, data in sorted(files.items()):
        name = path.rpartition("/")[2]
        properties = {
            "name": path,
            "contentSize": str(len(data)),
            "sha256": hashlib.sha256(data).hexdigest(),
            "encodingFormat": _type(name),
        }
        if path.startswith("results/") and name in descriptions:
            properties["description"] = descriptions[name]
        made.add_file(dest_path=path, properties=properties)
    generated: dict[str, Any] = made.metadata.generate()
    return generated


def _descriptions() -> dict[str, str]:
    """What each result file is, as it is declared, by file name."""
    return {name: table.about for name, table in reread().items()} | {
        name: table.about for name, (_, table) in measured().items()
    }


def _type(name: str) -> str:
    suffix = f".{name.rpartition('.')[2]}"
    return _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "text/plain"
