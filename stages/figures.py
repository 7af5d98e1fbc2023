"""Draw the paper's figures from result files."""

from __future__ import annotations

from common import PAPER, stage
from report_common import open_results

from introspection.files import PROMPTS
from introspection.paper.figures import draw_figures
from introspection.settings import Settings
from introspection.stimuli.prompts import Stimuli


@stage
def main(settings: Settings) -> None:
    """Write paper/figures."""
    draw_figures(settings, Stimuli(PROMPTS), open_results(settings), PAPER / "figures")


if __name__ == "__main__":
    main()
