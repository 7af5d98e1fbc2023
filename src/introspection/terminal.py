"""Text that others wrote, shown in a terminal: as what it is, and never as what a terminal does."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text with what cannot be printed as an escape (`\x1b`); a line break is one."""
    return "".join(each if each.isprintable() or each == "\n" else repr(each)[1:-1] for each in text)
