"""Render the paper's tables, and the values of its prose, from result files."""

from __future__ import annotations

from report_common import PAPER, PROMPTS, open_results, report_stage

from introspection.config import Settings
from introspection.report.tables import render_tables
from introspection.stimuli import load_stimuli


@report_stage
def main(settings: Settings) -> None:
    """Write paper/tables."""
    render_tables(settings, load_stimuli(PROMPTS), open_results(settings), PAPER / "templates", PAPER / "tables")


if __name__ == "__main__":
    main()
