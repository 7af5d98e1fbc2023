"""Render the paper's tables, and the values of its prose, from result files."""

from __future__ import annotations

from common import PAPER, read_stimuli, stage
from report_common import open_results

from introspection.paper.tables import render_tables
from introspection.settings import Settings


@stage
def main(settings: Settings) -> None:
    """Write paper/tables."""
    render_tables(settings, read_stimuli(), open_results(settings), PAPER / "templates", PAPER / "tables")


if __name__ == "__main__":
    main()
