"""CITATION.cff, and the metadata of an archive that are made of it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from introspection.files import ResultError, read_yaml


class _Section(BaseModel):
    """A part of the file, whose keys have hyphens; of what it says, the archive needs some."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=lambda name: name.replace("_", "-"))


class Person(_Section):
    """An author: a name, or its two parts."""

    name: str = ""
    given_names: str = ""
    family_names: str = ""

    @property
    def whole(self) -> str:
        """As archives list it."""
        return self.name or ", ".join(part for part in (self.family_names, self.given_names) if part)


class Reference(_Section):
    """What this builds upon."""

    title: str
    url: str
    notes: str = ""


class Citation(_Section):
    """What of CITATION.cff the archive needs."""

    title: str
    version: str
    license: str
    released: date = Field(alias="date-released")
    authors: tuple[Person, ...]
    references: tuple[Reference, ...] = ()


def read_citation(path: Path) -> Citation:
    """CITATION.cff. Raises ResultError where a field is missing or another thing."""
    return read_yaml(path, Citation, ResultError)


def zenodo(citation: Citation, description: str) -> dict[str, Any]:
    """The deposit metadata that Zenodo reads from `.zenodo.json`."""
    return {
        "title": citation.title,
        "upload_type": "software",
        "description": description,
        "version": citation.version,
        "license": citation.license,
        "publication_date": citation.released.isoformat(),
        "creators": [{"name": person.whole} for person in citation.authors],
        "keywords": ["interpretability", "introspection", "language models", "control vectors", "reproducibility"],
        "related_identifiers": [
            {"identifier": reference.url, "relation": "isDerivedFrom" if place == 0 else "references"}
            for place, reference in enumerate(citation.references)
        ],
    }
