"""Check params.yaml as a whole, before any other stage has it in a command or in the name of an output."""

from __future__ import annotations

from pathlib import Path

from common import stage

from introspection.files import write_text
from introspection.settings import Settings

CHECKED = Path("data/checked.txt")


@stage
def main(_settings: Settings) -> None:
    """Write data/checked.txt, which says no more than that this stage has found nothing wrong."""
    write_text(CHECKED, "params.yaml is valid: every stage that uses its keys comes after stages/check.py\n")


if __name__ == "__main__":
    main()
