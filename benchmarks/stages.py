"""How long each stage took, from the log of a run:

make reproduce 2>&1 | tee log
python -m benchmarks.stages log "Two cores, nothing else ran." > benchmarks/stages.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

SHARES = {
    "the study": (
        "check download model prompts prompt-text vectors dose injection prefill detection suffixes suffix-intervals "
        "controls control-statistics competence lens lens-again content samples sweep choose-range chosen-range "
        "chosen-competence instrument published figures tables paper companion fetch"
    ),
    "is it noticing": (
        "population-vectors population population-summary places battery battery-fit verdict examine examine-grown "
        "examine-trained confusion"
    ),
    "where, which, reader, text, frame": (
        "framing where where-summary which which-summary reader reader-summary written curve-grown beyond-grown "
        "beyond-trained"
    ),
}
"""What the stages are for."""

_LINE = re.compile(r"^stage (\S+): ([\d.]+) s$", re.MULTILINE)


def durations(log: str) -> Iterator[tuple[str, float]]:
    """Each stage as it ended, and how many seconds it ran."""
    for name, seconds in _LINE.findall(log.replace("\r", "\n")):
        yield name, float(seconds)


def table(log: str, note: str) -> str:
    """Minutes by what the stages are for and by model, then seconds by stage and model, as Markdown."""
    rows = [(*name.partition("@")[::2], seconds) for name, seconds in durations(log)]
    frame = pd.DataFrame(rows, columns=["stage", "item", "seconds"])
    models = list(frame.loc[frame["stage"] == "detection", "item"])
    frame["model"] = frame["item"].where(frame["item"].isin(models), "others")
    share_of = {stage: share for share, stages in SHARES.items() for stage in stages.split()}
    frame["for"] = frame["stage"].map(share_of)
    shares = frame.pivot_table("seconds", "for", "model", "sum", margins=True, margins_name="all", sort=False) / 60
    each = frame.pivot_table("seconds", "stage", "model", "sum", sort=False)
    columns = [*models, "others"]
    return "\n\n".join(
        (
            "# How long everything takes",
            "Of one run of `make reproduce`, by `python -m benchmarks.stages`: in minutes by what the stages are for, "
            "then in seconds for each stage (*others*: of no model of the study, or of the zoo). Of stages that run at "
            f"the same time each counts for itself. {note}",
            shares.reindex(columns=[*columns, "all"]).fillna(0).map("{:.1f}".format).to_markdown(disable_numparse=True),
            each.reindex(columns=columns).map("{:.0f}".format).replace("nan", "").to_markdown(disable_numparse=True),
        )
    )


if __name__ == "__main__":
    print(table(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2]))
