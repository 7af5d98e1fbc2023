"""Draw the paper's figures from result files."""

from __future__ import annotations

from common import PAPER, stage
from report_common import open_results

from introspection.paper.gallery import draw_figures
from introspection.settings import Settings


@stage
def main(settings: Settings) -> None:
    """Write paper/figures."""
    draw_figures(settings, open_results(settings), PAPER / "figures")


if __name__ == "__main__":
    main()
