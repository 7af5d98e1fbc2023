"""Write the paper's companion: every result file as pages of HTML."""

from __future__ import annotations

from common import PAPER, stage
from report_common import open_results

from introspection.companion.site import write_companion
from introspection.settings import Settings


@stage
def main(settings: Settings) -> None:
    """Write paper/build/companion."""
    write_companion(open_results(settings), settings.reported, PAPER / "build" / "companion")


if __name__ == "__main__":
    main()
