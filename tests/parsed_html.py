"""What a reader of HTML finds in a page, and text that would break one that does not escape it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

BREAKING = "</script><img src=x onerror=\"document.title='broken'\">\u2028 \n'<!--"


@dataclass
class Parsed(HTMLParser):
    """What a reader of HTML finds in a page."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        else:
            self.text += data


def parsed(text: str) -> Parsed:
    found = Parsed()
    found.feed(text)
    found.close()
    return found


def unpacked(column: dict[str, Any]) -> list[Any]:
    """The cells of a column as assets/tables.js takes them, told anew here."""
    if "cells" in column:
        return column["cells"]
    if "letters" in column:
        alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        return [column["levels"][alphabet.index(letter)] for letter in column["letters"]]
    if "codes" in column:
        return [column["levels"][code] for code in column["codes"]]
    pairs = zip(column["runs"][::2], column["runs"][1::2], strict=True)
    return [column["levels"][code] for code, count in pairs for _ in range(count)]
