"""LaTeX to PDF: one run of latexmk with LuaLaTeX, no shell, the same bytes for the same input."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE_DATE_EPOCH = (
    1_763_683_200  # 2025-11-21, a fixed date for the PDF's metadata: the same input gives the same bytes
)
ALLOWED_OVERFULL = 1.0  # points
_SPOILS = (
    r"(LaTeX|Package natbib) Warning: .*undefined"
    r"|LaTeX Warning: (Label .* multiply defined|Float too large)"
    r"|Missing character"
)
TIMEOUT = 900  # seconds; the first run of LuaLaTeX on a machine indexes its fonts


class BuildError(RuntimeError):
    """The paper could not be built; the message holds what LaTeX said and what to do."""


@dataclass(frozen=True)
class Built:
    """A finished PDF.

    pdf: the file, inside the folder it was built in.
    inputs: the files of that folder that LaTeX read, relative to it.
    """

    pdf: Path
    inputs: frozenset[Path]


def build_pdf(folder: Path, main: str) -> Built:
    """Build `folder/main`, a `.tex` file, which finds everything it reads in `folder`.

    Raises BuildError where TeX is not installed, LaTeX stops, a reference or citation is undefined, a glyph is missing
    or a line sticks out by more than a point.
    """
    for program in ("latexmk", "lualatex", "bibtex"):
        if shutil.which(program) is None:
            raise BuildError(f"{program} is not installed: run scripts/install-tex, which installs TeX or says how")
    output = folder / "_latex"
    output.mkdir(exist_ok=True)
    command = [
        "latexmk",
        "-norc",
        "-pdflua",
        "-pdflualatex=lualatex --no-shell-escape %O %S",
        "-interaction=nonstopmode",
        "-halt-on-error",
        "-file-line-error",
        "-recorder",
        f"-outdir={output.name}",
        main,
    ]
    variables = {
        **os.environ,
        "SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH),
        "FORCE_SOURCE_DATE": "1",
        "max_print_line": "10000",
        "TZ": "UTC",
    }
    try:
        done = subprocess.run(
            command, cwd=folder, env=variables, capture_output=True, text=True, errors="replace", timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{main}: LaTeX did not end within {TIMEOUT} s") from error
    stem = Path(main).stem
    log_file = output / f"{stem}.log"
    log = log_file.read_text(encoding="utf-8", errors="replace") if log_file.exists() else ""
    if done.returncode != 0:
        raise BuildError(f"{main}: LaTeX failed\n{_first_error(log) or _tail(done.stdout + done.stderr)}")
    complaints = problems(log)
    if complaints:
        raise BuildError(f"{main}: {len(complaints)} problems in the log\n" + "\n".join(complaints))
    return Built(output / f"{stem}.pdf", _inputs(output / f"{stem}.fls", folder, output))


def problems(log: str) -> list[str]:
    """What a finished LaTeX log complains of that would spoil the paper, a line each."""
    complaints = []
    for line in log.splitlines():
        overfull = re.match(r"Overfull \\[hv]box \(([\d.]+)pt too (wide|high)\)", line)
        if (overfull and float(overfull.group(1)) > ALLOWED_OVERFULL) or re.match(_SPOILS, line):
            complaints.append(line)
    return complaints


def _first_error(log: str) -> str:
    """The first error of a log made with -file-line-error, and the lines that show where it is."""
    lines = log.splitlines()
    for index, line in enumerate(lines):
        if line.startswith("!") or re.match(r"\S+\.\w+:\d+: ", line):
            return "\n".join(lines[index : index + 8])
    return ""


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-15:])


def _inputs(record: Path, folder: Path, output: Path) -> frozenset[Path]:
    """The files that LaTeX recorded as read, those of `folder` but for its own output."""
    inputs = set()
    for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
        kind, _, name = line.partition(" ")
        path = (folder / name).resolve()
        if kind == "INPUT" and path.is_relative_to(folder.resolve()) and not path.is_relative_to(output.resolve()):
            inputs.add(path.relative_to(folder.resolve()))
    return frozenset(inputs)
