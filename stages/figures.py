"""Draw the paper's figures from result files."""

from __future__ import annotations

from common import PAPER, PROMPTS, stage
from report_common import open_results

from introspection.paper.figures import draw_figures
from introspection.settings import Settings
from introspection.stimuli.prompts import load_stimuli


@stage
def main(settings: Settings) -> None:
    """Write paper/figures."""
    draw_figures(settings, load_stimuli(PROMPTS), open_results(settings), PAPER / "figures")


if __name__ == "__main__":
    main()
