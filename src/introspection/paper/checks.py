"""Checks on the paper's own text: no result typed by hand, nothing made that nothing shows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

# Verbs by which a model would know what was done to it.
_CLAIM = re.compile(
    r"\b(?:notices?|noticed|noticing|detects|detected|detecting|reports|reported|reporting|introspects|introspected"
    r"|recogni[sz]es?|recogni[sz]ed|perceives?|perceived)\b",
    flags=re.IGNORECASE,
)

# Where a digit is no result: names of files, labels, values and lengths, and numbers marked as the method's own.
_ALLOWED = (
    r"(?<!\\)%.*",  # comments
    r"<[%#<].*?[%#>]>",  # what a template fills in
    r"\\(?:setvalue|val|mval|ifvalue|ifmvalue|input|ref|label|hyperref|citep?|citet|cite|includegraphics)(?:\[[^]]*\])?\{[^{}]*\}",
    r"\\(?:fixed|name)\{[^{}]*\}",
    r"\\begin\{(?:tabular|longtable\*?|tabularx)\}(?:\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})",
    r"\\(?:cmidrule|multicolumn|addlinespace)(?:\[[^]]*\]|\([^)]*\)|\{[^{}]*\})*",
    r"\\setlength\s*(?:\\\w+|\{[^{}]*\})\s*(?:\{[^{}]*\}|-?[\d.]+\w\w)",
    r"\d*\.?\d+\\(?:textwidth|linewidth|columnwidth)",
    r"\\(?:vspace|hspace|\\)\*?(?:\[[^]]*\]|\{[^{}]*\})",
    r"\#\d",
    r"(?<![\w\\.-])[A-Za-z][\w.-]*",  # names with digits: float32, Qwen2.5-Coder-32B
)


def typed_numbers(text: str) -> list[tuple[int, str]]:
    """The lines of a prose file or template, from 1, with a digit that no value or mark accounts for."""
    stripped = text
    for pattern in _ALLOWED:
        stripped = re.sub(pattern, lambda match: re.sub(r"[^\n]", " ", match.group()), stripped)
    return [
        (number, line.strip())
        for number, (line, bare) in enumerate(zip(text.splitlines(), stripped.splitlines(), strict=True), start=1)
        if re.search(r"\d", bare)
    ]


def check_prose(files: Iterable[Path]) -> list[str]:
    """A complaint for each number typed into the prose."""
    return [
        f"{path}:{number}: a number typed by hand: {line!r}; use \\val{{...}}, or \\fixed{{...}} if it is no result"
        for path in files
        for number, line in typed_numbers(path.read_text(encoding="utf-8"))
    ]


def check_claims(files: Iterable[Path]) -> list[str]:
    """A complaint for each verb that says of a model that it notices, whether or not it can answer."""
    return [
        f"{path}:{number}: {word!r} is said of every model; say it in the first part of \\ifcompetent{{...}}{{...}}"
        for path in files
        for number, word in unguarded_claims(path.read_text(encoding="utf-8"), of_models=path.suffix == ".j2")
    ]


def unguarded_claims(text: str, of_models: bool = False) -> list[tuple[int, str]]:
    """The lines, from 1, and the verbs in them by which a model knows what was done to it, said of any model.

    Such a verb may stand where no model of the study is spoken of, outside \\foreachmodel, and within it in the first
    argument of \\ifcompetent, which is for models that can answer. of_models: all of the text is about a model.
    """
    passages = [(0, len(text))] if of_models else _arguments(text, r"\foreachmodel")
    guarded = {place for span in _arguments(text, r"\ifcompetent") for place in range(*span)}
    return [
        (text.count("\n", 0, match.start()) + 1, match.group())
        for match in _CLAIM.finditer(text)
        if any(start <= match.start() < stop for start, stop in passages) and match.start() not in guarded
    ]


def _arguments(text: str, command: str) -> list[tuple[int, int]]:
    """Where the first argument of each use of a command begins and ends."""
    spans = []
    for match in re.finditer(re.escape(command + "{"), text):
        depth, place = 1, match.end()
        while depth and place < len(text):
            depth += {"{": 1, "}": -1}.get(text[place], 0) * (text[place - 1] != "\\")
            place += 1
        spans.append((match.end(), place - 1))
    return spans


def unshown(made: Iterable[Path], read: Iterable[Path]) -> list[str]:
    """A complaint for each figure or table that was made and that LaTeX did not read."""
    return [f"paper/{path}: made, and shown nowhere in the paper" for path in sorted(set(made) - set(read))]


def unused_values(values: Path, users: Iterable[Path]) -> list[str]:
    """A complaint for each value of `values`, a file of \\setvalue lines, that no LaTeX file of `users` asks for.

    A model's values begin with its number; \\mval and \\ifmvalue ask for every model's at once, and a template may
    put the number in. A value is used where a condition asks whether it is there.
    """
    used = set()
    for path in users:
        text = re.sub(r"<<.*?>>\.", "", path.read_text(encoding="utf-8"))
        used |= set(re.findall(r"\\(?:val|mval|ifvalue|ifmvalue)\{([\w.-]+)\}", text))
    set_here = re.findall(r"^\\setvalue\{([\w.-]+)\}", values.read_text(encoding="utf-8"), flags=re.MULTILINE)
    unused = [name for name in set_here if not {name, re.sub(r"^\d+\.", "", name)} & used]
    return [f"paper/{values.parent.name}/{values.name}: nothing uses the value {name!r}" for name in unused]
