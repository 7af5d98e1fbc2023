"""The archive itself: the same files give the same bytes."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from introspection.files import ResultError, whole
from introspection.release.cards import cards
from introspection.release.citation import Citation, read_citation, zenodo
from introspection.release.crate import METADATA, crate
from introspection.settings import Settings

CHECKSUMS = "SHA256SUMS"
ZENODO = ".zenodo.json"
CARDS = "model-cards"
MADE = (CHECKSUMS, METADATA, ZENODO)
"""What an archive has beside the project's own files, and a project that was unpacked from one has too."""

NEEDED = (
    "CITATION.cff",
    "LICENSE",
    "README.md",
    "dvc.lock",
    "paper/build/paper.pdf",
    "paper/build/companion/index.html",
)


def write_archive(settings: Settings, root: Path, paths: list[str], description: str, folder: Path) -> Path:
    """Write NAME-VERSION.zip with the files of a project and what describes them into a folder, whole or not at all.

    root: the project. paths: its files, relative to it. description: what it is, in a sentence or two.
    Raises ResultError where a file is missing that every archive has, with what makes it.
    """
    if missing := [path for path in NEEDED if path not in paths or not (root / path).is_file()]:
        raise ResultError(f"{missing[0]}: is missing; `make paper` makes what the repository does not hold")
    citation = read_citation(root / "CITATION.cff")
    own = [path for path in paths if path not in MADE and not path.startswith(f"{CARDS}/")]
    files = {path: (root / path).read_bytes() for path in own}
    files |= {f"{CARDS}/{name}": text.encode() for name, text in cards(settings, root, citation.license).items()}
    files |= described(citation, description, files)
    name = f"introspection-{citation.version}"
    with whole(folder / f"{name}.zip") as unfinished:
        _write_zip(unfinished, name, files, citation.released)
    return folder / f"{name}.zip"


def described(citation: Citation, description: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files that describe an archive of these files: for Zenodo, as an RO-Crate, and the checksums of all."""
    made = {
        ZENODO: _json(zenodo(citation, description)),
        METADATA: _json(crate(citation, description, files)),
    }
    sums = {path: hashlib.sha256(data).hexdigest() for path, data in {**files, **made}.items()}
    lines = [f"{checksum}  {path}\n" for path, checksum in sorted(sums.items())]
    return made | {CHECKSUMS: "".join(lines).encode()}


def listed(checksums: Path) -> list[str]:
    """The files that the checksums of an unpacked archive name."""
    return [line.split("  ", 1)[1] for line in checksums.read_text(encoding="utf-8").splitlines()]


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, default=str) + "\n").encode()


def _write_zip(path: Path, name: str, files: Mapping[str, bytes], released: date) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{name}/{file}", (released.year, released.month, released.day, 0, 0, 0))
            runs = file.startswith((".ci/", "scripts/")) and data.startswith(b"#!")
            entry.external_attr = (0o755 if runs else 0o644) << 16
            # weights hardly get smaller by trying longer, and they are most of it
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED, 1 if file.endswith(".safetensors") else None)
