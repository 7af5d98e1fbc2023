"""CITATION.cff, and the metadata of an archive that are made of it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from introspection.files import ResultError, read_yaml


class Person(BaseModel):
    """An author: a name, or its two parts."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    name: str = ""
    given_names: str = ""
    family_names: str = ""

    @property
    def whole(self) -> str:
        """As archives list it."""
        return self.name or ", ".join(part for part in (self.family_names, self.given_names) if part)


class Reference(BaseModel):
    """What this builds upon."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    title: str
    url: str
    notes: str = ""


class Citation(BaseModel):
    """What of CITATION.cff the archive needs."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    title: str
    version: str
    license: str
    released: date
    authors: tuple[Person, ...]
    references: tuple[Reference, ...] = ()


def read_citation(path: Path) -> Citation:
    """CITATION.cff. Raises ResultError where a field is missing or another thing."""
    content: Any = read_yaml(path, dict, ResultError)  # its keys have hyphens
    return read_form({_plain(key): value for key, value in content.items()}, path)


def read_form(content: dict[str, Any], path: Path) -> Citation:
    """The content of CITATION.cff with plain keys, checked."""
    people = [{_plain(key): value for key, value in each.items()} for each in content.get("authors", [])]
    try:
        return Citation(**content | {"authors": people, "released": content.get("date_released")})
    except ValueError as error:
        first = " ".join(str(error).split())[:300]
        raise ResultError(f"{path}: {first}") from error


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


def _plain(key: str) -> str:
    return key.replace("-", "_")
