"""What was found between two folders of results, in words: lines for a terminal, a table for a pull request."""

from __future__ import annotations

import math
from collections.abc import Sequence

from introspection.reproduction.differences import Difference, FileDifference
from introspection.reproduction.tolerances import GENERAL

_NAMED = 3  # of the rows that are gone or new


def lines(found: Sequence[FileDifference]) -> list[str]:
    """A line for each file that is not the same."""
    return [
        f"{'BEYOND' if each.is_beyond else 'within'}  {each.file}: {_words(each)}" for each in found if not each.is_same
    ]


def markdown(found: Sequence[FileDifference]) -> str:
    """A table of the files that are not the same."""
    rows = [
        f"| `{each.file}` | {_cell(_size(each.worst))} | {_cell(_place(each.worst))} | "
        f"{_cell(str(each.worst.tolerance) if each.worst else '')} | {_cell('; '.join(_problems(each)) or 'within')} |"
        for each in found
        if not each.is_same
    ]
    head = ["| file | largest difference | where | tolerance | |", "|---|---|---|---|---|"]
    return "\n".join([*([*head, *rows, ""] if rows else []), summary(found)])


def summary(found: Sequence[FileDifference]) -> str:
    """Whether the results are the same, and what is not."""
    beyond = [each for each in found if each.is_beyond]
    same = sum(each.is_same for each in found)
    within = len(found) - same - len(beyond)
    counts = f"{len(found)} files: {same} the same, {within} within tolerance, {len(beyond)} beyond."
    verdicts = [f"{each.file}: {change}" for each in found for change in each.changed]
    changed = f" The verdict changed: {'; '.join(verdicts)}." if verdicts else ""
    names = _some([each.file for each in beyond], 12)
    return f"{counts} Reproduced within {GENERAL}{f' but for {names}' if beyond else ''}.{changed}"


def _words(each: FileDifference) -> str:
    return "; ".join(_problems(each)) or f"{_place(each.worst)} by {_size(each.worst)} at most"


def _problems(each: FileDifference) -> list[str]:
    """What is beyond tolerance."""
    if each.presence != "both":
        return [f"the file is {each.presence}"]
    told = [
        f"{len(rows)} rows {word} ({_some(rows)})"
        for rows, word in ((each.missing, "gone"), (each.added, "new"))
        if rows
    ]
    told += [_beyond(one) for one in each.differences if one.excess > 1]
    return [*told, *each.changed]


def _beyond(one: Difference) -> str:
    rows = f" in {one.beyond} rows, most at {one.where}" if one.beyond > 1 else f" at {one.where}" if one.where else ""
    if math.isinf(one.largest):
        return f"{one.column} changed{rows}"
    return f"{one.column} differs by {_size(one)}{rows}, allowed {one.tolerance}"


def _some(names: Sequence[str], count: int = _NAMED) -> str:
    more = len(names) - count
    return ", ".join(names[:count]) + (f" and {more} more" if more > 0 else "")


def _place(worst: Difference | None) -> str:
    return "" if worst is None else f"{worst.column}{f' at {worst.where}' if worst.where else ''}"


def _size(worst: Difference | None) -> str:
    return "" if worst is None else "not the same" if math.isinf(worst.largest) else f"{worst.largest:.2g}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
