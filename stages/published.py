"""The study's own figures read again, from data/published alone."""

from __future__ import annotations

from pathlib import Path

from common import RESULTS, stage, write_text

from introspection import published
from introspection.config import Settings


@stage
def main(_settings: Settings) -> None:
    """Write results/published/*.csv."""
    tables = published.read_published(Path("data/published"))
    results = {
        "shifts": published.shifts(tables.detection),
        "grid": published.grid_test(tables.detection),
        "spacings": published.spacings(tables.detection),
        "significands": published.significands(tables.detection),
        "differences": published.differences(tables.detection),
        "controls": published.control_shifts(tables.controls),
        "comparisons": published.comparisons(tables),
        "reversals": published.reversals(tables.detection),
        "prompt_effects": published.prompt_effects(tables.detection),
        "disagreements": published.disagreements(tables.detection),
        "summary": published.summary(tables),
    }
    for name, table in results.items():
        # empty cells are part of these tables: what a probability of 1 says of its log-odds
        text = table.to_csv(index=False, float_format="%.9g", lineterminator="\n")
        write_text(RESULTS / "published" / f"{name}.csv", text)


if __name__ == "__main__":
    main()
