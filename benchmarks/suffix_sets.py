"""Two sets of suffixes side by side: the answers, their intervals, and the directions that each set gives.

python -m benchmarks.suffix_sets NAME=RESULTS NAME=RESULTS > benchmarks/suffix_sets.md

RESULTS is a folder of one model's result files, after the stages vectors, detection, suffixes and suffix-intervals.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from introspection import names
from introspection.experiments.suffixes.tables import AUDIT, INTERVALS
from introspection.files import read_json
from introspection.injection.dose import QUESTIONS, Dose
from introspection.injection.vectors import load_vector
from introspection.paper.wording import nats


@dataclass(frozen=True)
class Measured:
    """What was measured with a set of suffixes."""

    name: str
    folder: Path

    @property
    def intervals(self) -> pd.DataFrame:
        """The shifts, indexed by concept and prompt."""
        return INTERVALS.read(self.folder / INTERVALS.name).set_index(["vector", "prompt"])

    @property
    def audit(self) -> pd.DataFrame:
        """Every direction."""
        return AUDIT.read(self.folder / AUDIT.name)

    @property
    def dose(self) -> Dose:
        """Where and how strongly vectors were injected."""
        return read_json(self.folder / QUESTIONS, Dose)

    def direction(self, concept: str, block: int) -> np.ndarray:
        """One direction, (hidden,)."""
        return load_vector(self.folder / "vectors" / names.file_name(concept)).directions[block]


def note(one: Measured, other: Measured) -> str:
    """The note on both."""
    if one.dose != other.dose:
        raise SystemExit(f"injected otherwise: {one.dose} and {other.dose}")
    dose = one.dose
    parts = [
        "# Two sets of suffixes\n",
        f"`{one.folder.name}` at blocks [{dose.first_layer}, {dose.last_layer}], strength {dose.strength:g}, with "
        "vectors of "
        + " and of ".join(f"{int(each.audit['pairs'].iloc[0])} suffixes ({each.name})" for each in (one, other))
        + ", made by `python -m benchmarks.suffix_sets`. Shifts of the log-odds of yes in nats. The interval is over "
        "bootstrap resamples of the suffixes of one set; it says nothing of another set.\n",
        answers(one, other),
        disjoint(one, other),
        directions(one, other),
        signs(one, other),
    ]
    return "\n".join(parts)


def answers(one: Measured, other: Measured) -> str:
    """The table of shifts."""
    heads = [f"{each.name}: {what}" for each in (one, other) for what in ("shift", "interval", "halves")]
    lines = [f"| concept | prompt | {' | '.join(heads)} |", "|---|---|" + "---|" * len(heads)]
    tables = [each.intervals for each in (one, other)]
    for key in tables[0].index:
        cells = []
        for row in (table.loc[key] for table in tables):
            interval = f"{nats(row['shift_low'])} to {nats(row['shift_high'])}" if row["resamples"] else ""
            cells += [nats(row["shift"]), interval, f"{nats(row['shift_half_1'])}, {nats(row['shift_half_2'])}"]
        lines.append(f"| {key[0]} | {key[1]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def disjoint(one: Measured, other: Measured) -> str:
    """Where the intervals of the two sets have nothing in common."""
    first, second = (each.intervals[each.intervals["resamples"] > 0] for each in (one, other))
    apart = (first["shift_low"] > second["shift_high"]) | (second["shift_low"] > first["shift_high"])
    found = [f"{vector} ({prompt})" for vector, prompt in apart[apart].index]
    return f"The intervals of the two sets have nothing in common for: {', '.join(found) or 'none'}.\n"


def directions(one: Measured, other: Measured) -> str:
    """The table of cosines over the injected blocks: between the sets, and between the halves of each."""
    blocks = range(one.dose.first_layer, one.dose.last_layer + 1)
    lines = [
        "Cosines over the injected blocks, the least (its block) and the median:\n",
        f"| concept | between the sets | halves, {one.name} | halves, {other.name} |",
        "|---|---|---|---|",
    ]
    for concept in dict.fromkeys(one.audit["vector"]):
        between = {block: float(one.direction(concept, block) @ other.direction(concept, block)) for block in blocks}
        cells = [between]
        for audit in (each.audit for each in (one, other)):
            of_concept = audit[audit["vector"] == concept].set_index("block")["cosine_halves"]
            cells.append({block: float(of_concept[block]) for block in blocks})
        lines.append(f"| {concept} | " + " | ".join(map(_least_and_median, cells)) + " |")
    return "\n".join(lines) + "\n"


def signs(one: Measured, other: Measured) -> str:
    """In how many directions the rules for the sign part."""
    said = []
    for each in (one, other):
        parted = each.audit[~each.audit["rules_agree"]]
        places = ", ".join(f"{row.vector} after block {row.block}" for row in parted.itertuples())
        said.append(f"{each.name}: {len(parted)} of {len(each.audit)} ({places or 'none'})")
    return f"Directions where the majority and the mean part: {'; '.join(said)}."


def _least_and_median(cosines: dict[int, float]) -> str:
    least = min(cosines, key=lambda block: cosines[block])
    return f"{cosines[least]:.2f} ({least}), {np.median(list(cosines.values())):.2f}"


if __name__ == "__main__":
    pairs = [argument.partition("=") for argument in sys.argv[1:]]
    print(note(*(Measured(name, Path(folder)) for name, _, folder in pairs)))
