"""Check and build the paper from its prose, figures and tables."""

from __future__ import annotations

from common import PAPER, stage
from report_common import open_results

from introspection.paper.paper import build_paper
from introspection.paper.results import shown_files
from introspection.settings import Settings


@stage
def main(settings: Settings) -> None:
    """Write paper/build/paper.pdf."""
    shown = shown_files(open_results(settings).stages, settings.study.models)
    build_paper(PAPER, PAPER / "build" / "paper.pdf", shown)


if __name__ == "__main__":
    main()
