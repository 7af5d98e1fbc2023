"""Read the study's own figures again, from data/published alone."""

from __future__ import annotations

from pathlib import Path

from common import stage

from introspection.files import RESULTS
from introspection.rereading.analysis import read_again, read_published
from introspection.settings import Settings


@stage
def main(settings: Settings) -> None:
    """Write results/published/*.csv."""
    for table, rows in read_again(read_published(Path("data/published"))):
        table.write(rows, RESULTS / "published" / table.name)


if __name__ == "__main__":
    main()
