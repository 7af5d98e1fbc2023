"""Render the paper's tables, and the values of its prose, from result files."""

from __future__ import annotations

from common import PAPER, stage
from report_common import open_results

from introspection.files import PROMPTS
from introspection.paper.tables import render_tables
from introspection.settings import Settings
from introspection.stimuli.prompts import load_stimuli


@stage
def main(settings: Settings) -> None:
    """Write paper/tables."""
    render_tables(settings, load_stimuli(PROMPTS), open_results(settings), PAPER / "templates", PAPER / "tables")


if __name__ == "__main__":
    main()
