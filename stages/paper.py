"""Check and build the paper from its prose, figures and tables."""

from __future__ import annotations

from common import PAPER, stage

from introspection.paper.paper import build_paper
from introspection.settings import Settings


@stage
def main(settings: Settings) -> None:
    """Write paper/build/paper.pdf."""
    build_paper(PAPER, PAPER / "build" / "paper.pdf")


if __name__ == "__main__":
    main()
