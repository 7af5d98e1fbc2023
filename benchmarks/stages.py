"""How long each stage took, from the log of a run that a clock has stamped:

make reproduce 2>&1 | while read -r line; do echo "$(date +%T) $line"; done | tee log
python -m benchmarks.stages log "Two cores, nothing else ran." > benchmarks/stages.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import pairwise
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
        "confusion"
    ),
    "where, which, reader, text, frame": (
        "framing where where-summary which which-summary reader reader-summary written curve-grown beyond-grown"
    ),
}
"""What the stages are for."""

_LINE = re.compile(r"(\d\d):(\d\d):(\d\d) (?:.*Running stage '([^']+)'|(.*compare \.work/committed))?")


def durations(log: str) -> Iterator[tuple[str, int]]:
    """Each stage in its order, and the seconds until the next one began."""
    begun: list[tuple[str, int]] = []
    last = 0
    for line in re.split(r"[\r\n]", log):
        if found := _LINE.match(line):
            last = int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3])
            if found[4] or found[5]:
                begun.append((found[4] or "", last))
    for (stage, start), (_, stop) in pairwise([*begun, ("", last)]):
        if stage:
            yield stage, (stop - start) % 86400


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
            f"then in seconds for each stage (*others*: of no model of the study, or of the zoo). {note}",
            shares.reindex(columns=[*columns, "all"]).fillna(0).map("{:.1f}".format).to_markdown(disable_numparse=True),
            each.reindex(columns=columns).map("{:.0f}".format).replace("nan", "").to_markdown(disable_numparse=True),
        )
    )


if __name__ == "__main__":
    print(table(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2]))
