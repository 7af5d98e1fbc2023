"""Rows of the benchmark table: a ratio, what the counts allow, the target, and whether it is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.measure import Arm, largest_difference

_MIB = 2**20


@dataclass(frozen=True)
class Row:
    """One benchmark beside one baseline.

    allowed: the ratio of the block tokens that the two compute. target: the least ratio. share: of the rate of a plain
    matrix product that the engine reaches; in_lanes: the same where every core has a process of one thread.
    difference: the largest between the outputs; tolerance: what is accepted.
    parts: by kind of work, its share of the engine's time.
    """

    benchmark: str
    baseline: str
    seconds: float
    baseline_seconds: float
    ratio: float
    allowed: float
    target: float
    difference: float
    tolerance: float
    share: float
    peak: int
    baseline_peak: int
    in_lanes: float | None = None
    remark: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Fast enough, and right."""
        return self.ratio >= self.target and self.difference <= self.tolerance


def compare(
    benchmark: str,
    baseline: str,
    ours: Arm,
    theirs: Arm,
    target: float,
    *,
    tolerance: float = 1e-4,
    difference: float | None = None,
    in_lanes: float | None = None,
    remark: str = "",
) -> Row:
    """The row of two arms. target: the least ratio, or below 1, the least share of what the counts allow."""
    allowed = theirs.block_tokens / ours.block_tokens
    return Row(
        benchmark=benchmark,
        baseline=baseline,
        seconds=ours.seconds,
        baseline_seconds=theirs.seconds * theirs.scale,
        ratio=theirs.seconds * theirs.scale / ours.seconds,
        allowed=allowed,
        target=target * allowed if target < 1 else target,
        difference=largest_difference(ours.outputs, theirs.outputs) if difference is None else difference,
        tolerance=tolerance,
        share=ours.share,
        peak=ours.peak,
        baseline_peak=theirs.peak,
        in_lanes=in_lanes,
        remark=remark,
        parts=ours.parts,
    )


def summary(rows: Sequence[Row]) -> str:
    """The table of the README: what was measured against what, and how many times faster it was."""
    lines = ["| | against | times faster | target | largest difference |", "|---|---|---|---|---|"]
    for row in rows:
        ratio = f"{row.ratio:.3g}" + ("" if row.met else " (missed)")
        lines.append(f"| {row.benchmark} | {row.baseline} | {ratio} | {row.target:.3g} | {row.difference:.1e} |")
    return "\n".join(lines)


def as_markdown(rows: Sequence[Row]) -> str:
    """The whole table of benchmarks/results.md."""
    head = (
        "| benchmark | baseline | time | baseline's | ratio | by the counts | target | largest difference | "
        "share of a matrix product's rate | in lanes | peak memory | baseline's |"
    )
    lines = [head, "|" + "---|" * head.count("|", 1)]
    for row in rows:
        cells = [
            row.benchmark + (f" ({row.remark})" if row.remark else ""),
            row.baseline,
            f"{row.seconds:.3g} s",
            f"{row.baseline_seconds:.3g} s",
            f"**{row.ratio:.3g}**",
            f"{row.allowed:.3g}",
            f"{row.target:.3g}" + ("" if row.met else ", **missed**"),
            f"{row.difference:.1e}" + ("" if row.difference <= row.tolerance else ", **WRONG**"),
            f"{row.share:.0%}",
            "" if row.in_lanes is None else f"{row.in_lanes:.0%}",
            f"{row.peak / _MIB:.0f} MiB",
            f"{row.baseline_peak / _MIB:.0f} MiB",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parts_as_markdown(rows: Sequence[Row]) -> str:
    """Where the engine's time goes, a line for each benchmark."""
    shown = {row.benchmark: row.parts for row in rows if row.parts}
    kinds = list(dict.fromkeys(kind for parts in shown.values() for kind in parts))
    if not kinds:
        return "Not measured in this run."
    lines = [f"| benchmark | {' | '.join(kinds)} |", "|---|" + "---|" * len(kinds)]
    for benchmark, parts in shown.items():
        lines.append(f"| {benchmark} | {' | '.join(f'{parts.get(kind, 0):.0%}' for kind in kinds)} |")
    return "\n".join(lines)


def as_records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For the JSON file."""
    return [asdict(row) | {"met": row.met} for row in rows]
