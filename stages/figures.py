"""Draw the paper's figures from result files."""

from __future__ import annotations

from common import PAPER, read_stimuli, stage
from report_common import open_results

from introspection.paper.figures import draw_figures
from introspection.settings import Settings


@stage
def main(settings: Settings) -> None:
    """Write paper/figures."""
    draw_figures(settings, read_stimuli(), open_results(settings), PAPER / "figures")


if __name__ == "__main__":
    main()
