"""What another processor, or another order of the same sums, may change in a result file; declared here, by column.

A number may differ by the absolute tolerance or by the relative one, whichever is larger; text, truths and whole
numbers may not. A column's tolerance is that of its name, where that is listed, or else that of its kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from introspection.tables import Column


@dataclass(frozen=True)
class Tolerance:
    """absolute: in the column's own unit. relative: a share of the larger of the two numbers."""

    absolute: float
    relative: float

    def excess(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        """By how many tolerances two columns differ, (rows,) to (rows,): above 1 is beyond; inf where nothing may."""
        difference = np.abs(one - other)
        allowed = np.maximum(self.absolute, self.relative * np.maximum(np.abs(one), np.abs(other)))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(difference == 0, 0.0, difference / allowed)

    def __str__(self) -> str:
        """`1e-4`, `1e-4 or 1e-3 of it`, `none`."""
        words = [f"{self.absolute:.0e}".replace("e-0", "e-")] if self.absolute else []
        words += [f"{self.relative:g} of it"] if self.relative and self.relative != self.absolute else []
        return " or ".join(words) or "none"


GENERAL = Tolerance(1e-4, 1e-4)
"""Probabilities, nats, norms and what is computed of them, in tables and in JSON files."""

EXACT = Tolerance(0, 0)
BFLOAT16 = Tolerance(1e-3, 2**-7)
"""A number rounded to the 8 significant bits of bfloat16 moves by a whole step where it lies between two.

So do means and spreads of them, by a part of the step, however small they are themselves.
"""
COSINE = Tolerance(1e-4, 0)
"""One less the cosine of a control vector's direction with the other's, and the difference of their norms."""

BY_NAME: dict[str, Tolerance] = {
    "strength": EXACT,  # what was asked of the model, to four digits
    "fraction": EXACT,
}
"""Columns that bear less or more than others of their kind, in every file that has them."""

BY_FILE: dict[tuple[str, str], Tolerance] = {
    ("population.csv", "strength"): Tolerance(0, 1e-3),  # at equal effect it is sought until the effect is near enough
    ("population_summary.csv", "strength"): Tolerance(0, 1e-3),
    ("places.csv", "fraction"): Tolerance(0, 1e-6),  # of the norm that was measured, where the strength is given
    # a logistic regression's solver stops within a tolerance of its own, and a score has hundreds of dimensions
    ("reader.csv", "read_score"): Tolerance(0.2, 0),
    ("reader_summary.csv", "reader_accuracy"): Tolerance(0.01, 0),
    ("reader_summary.csv", "reader_low"): Tolerance(0.01, 0),
    ("reader_summary.csv", "reader_high"): Tolerance(0.01, 0),
    ("reader_summary.csv", "reader_auc"): Tolerance(0.01, 0),
}


def tolerance_of(file: str, column: Column) -> Tolerance:
    """What may change in a column of a result file, by the file's name."""
    if column.kind != "number":
        return EXACT
    special = BY_FILE.get((file, column.name), BY_NAME.get(column.name))
    if special is not None:
        return special
    return BFLOAT16 if column.name.endswith("_bf16") else GENERAL
