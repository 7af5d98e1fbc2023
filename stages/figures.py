"""Draw the paper's figures from result files."""

from __future__ import annotations

from common import PAPER, stage
from report_common import open_results

from introspection.config import Settings
from introspection.report.gallery import draw_figures


@stage
def main(settings: Settings) -> None:
    """Write paper/figures."""
    draw_figures(settings, open_results(settings), PAPER / "figures")


if __name__ == "__main__":
    main()
