"""One way into LaTeX for every value: whatever the text, it is shown and never run.

The rendered text is ASCII. A character beyond ASCII becomes `\\unicodechar{732B}`; the preamble of the paper shows it
in the first of its fonts that has it, and as its code point where none has. So a rendered table is the same everywhere.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined

LONG_RUN = 20  # characters without a space from which on a line may break inside
BREAK_EVERY = 10
BOX_WIDTH = 40  # letters of a token that fit into a column together
BREAK_AFTER = "/-_.,:;"  # where a break inside a long run is least in the way

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    # Not special, but drawn as curly quotes or other signs by some fonts.
    "'": r"\textquotesingle{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}

# Categories whose characters have no shape of their own: controls, formats, surrogates, private, unassigned,
# separators, and marks, which would be drawn over the character before.
_SHAPELESS = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs", "Mn", "Mc", "Me"}
_REPLACEMENT = "\ufffd"  # stands for bytes that are no text
_RIGHT_TO_LEFT = {"R", "AL"}


class Latex(str):
    """Text that is LaTeX already and goes into a template as it is."""

    __slots__ = ()


def escape(value: object) -> Latex:
    """The text of `value` as LaTeX that prints it: newlines as a mark, shapeless characters as their code points.

    Raises TypeError for None, bytes and undefined template variables: a missing value must not pass for an empty one.
    """
    return value if isinstance(value, Latex) else Latex(_escape(_text(value), visible_spaces=False))


def token(value: object) -> Latex:
    """As `escape`, for a token: set in a box of its own, every space visible, an empty one named.

    No line breaks inside a box, so a long token is set in several that follow each other.
    """
    text = _text(value)
    if not text:
        return Latex(r"\token{\emptytext{}}")
    boxes = (rf"\token{{{_escape(piece, visible_spaces=True)}}}" for piece in _pieces(text))
    return Latex(r"\breakhere{}".join(boxes))


def _pieces(text: str) -> Iterator[str]:
    """A text in pieces of at most BOX_WIDTH letters, of which a code point takes eight."""
    start, width = 0, 0
    for place, character in enumerate(text):
        own = 8 if needs_code_point(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if place > start and width + own > BOX_WIDTH:
            yield text[start:place]
            start, width = place, 0
        width += own
    yield text[start:]


def needs_code_point(character: str) -> bool:
    """Whether a character has no shape of its own and is shown as its code point whatever the font."""
    return character == _REPLACEMENT or (character != " " and unicodedata.category(character) in _SHAPELESS)


def environment(folder: Path) -> Environment:
    """Jinja with delimiters that LaTeX does not use, where every printed value goes through `escape`.

    Undefined names are errors. `Latex` values pass unchanged; the filter `token` shows spaces.
    """
    jinja = Environment(
        loader=FileSystemLoader(folder),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        undefined=StrictUndefined,
        finalize=escape,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # that would be HTML's escaping; `finalize` is ours
    )
    jinja.filters["token"] = token
    return jinja


def _text(value: object) -> str:
    if isinstance(value, Undefined):
        str(value)  # a strict undefined raises its own error, which names the variable
    if value is None or isinstance(value, bytes | Undefined):
        raise TypeError(f"cannot print {value!r} in the paper: give it a value")
    return str(value)


def _escape(text: str, visible_spaces: bool) -> str:
    parts: list[str] = []
    run = 0  # characters since the last place where a line may break
    long = {index for start, end in _long_runs(text) for index in range(start, end)}
    right_to_left = False
    for index, character in enumerate(text):
        turns = unicodedata.bidirectional(character) in _RIGHT_TO_LEFT and not needs_code_point(character)
        if turns != right_to_left:
            parts.append(r"\righttoleft{" if turns else "}")
            right_to_left = turns
        parts.append(_character(text, index, visible_spaces))
        run = 0 if character.isspace() else run + 1
        wide = unicodedata.east_asian_width(character) in "WF" or needs_code_point(character)
        if wide or (index in long and character in BREAK_AFTER):
            parts.append(r"\breakhere{}")
            run = 0
        elif index in long and run == BREAK_EVERY:
            parts.append(r"\breakanywhere{}")
            run = 0
    if right_to_left:
        parts.append("}")
    return "".join(parts)


def _character(text: str, index: int, visible_spaces: bool) -> str:
    character = text[index]
    if character == " ":
        if visible_spaces:
            return r"\visiblespace{}"
        single = 0 < index < len(text) - 1 and text[index - 1] != " " and text[index - 1] != "\n"
        return " " if single else r"\ {}"
    if character == "\n":
        return r"\newlinemark{}"
    if character in _SPECIAL:
        return _SPECIAL[character]
    if needs_code_point(character):
        return rf"\codepoint{{{ord(character):04X}}}"
    if character.isascii():
        return character
    return rf"\unicodechar{{{ord(character):04X}}}"


def _long_runs(text: str) -> list[tuple[int, int]]:
    """Start and end of every stretch of more than LONG_RUN characters without a space."""
    runs, start = [], 0
    for index in range(len(text) + 1):
        if index == len(text) or text[index].isspace():
            if index - start > LONG_RUN:
                runs.append((start, index))
            start = index + 1
    return runs
