"""Pack the study for an archive: source, results, paper, companion, vectors, organisms, metadata, checksums."""

from __future__ import annotations

import subprocess
from pathlib import Path

import click
from common import stage

from introspection.release.archive import CHECKSUMS, listed, write_archive
from introspection.settings import Settings

COMPANION = Path("paper/build/companion")
DESCRIPTION = (
    "Does a language model notice a concept that was injected into its activations? A reproduction and extension of "
    "“Small Models Can Introspect, Too”: code, results, control vectors, model organisms, the paper and its companion."
)


@stage
def main(settings: Settings) -> None:
    """Write dist/introspection-VERSION.zip; nothing is uploaded."""
    path = write_archive(settings, Path(), _files(), DESCRIPTION, Path("dist"))
    click.echo(
        f"{path}: {path.stat().st_size / 2**20:.0f} MiB. To publish it, upload it to an archive by hand (Zenodo: New "
        "upload, this file; the fields are in its .zenodo.json), and put the DOI that you are given into CITATION.cff."
    )


def _files() -> list[str]:
    """What git holds, or in an unpacked archive what that has, and the companion."""
    if Path(".git").exists():
        tracked = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True).stdout
        found = [path for path in tracked.split("\0") if path and Path(path).is_file()]
    else:
        found = [path for path in listed(Path(CHECKSUMS)) if Path(path).is_file()]
    return sorted({*found, *(path.as_posix() for path in COMPANION.rglob("*") if path.is_file())})


if __name__ == "__main__":
    main()
