"""The two data files that vectors are trained on, and their formats."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from introspection.files import LONGEST

PROMPT_COLUMN = "forbidden_prompt"  # StrongREJECT's header is category,source,forbidden_prompt


class DataError(ValueError):
    """A data file that cannot be used; the message names the file and what is wrong with it."""


def read_suffixes(path: Path) -> list[str]:
    """Beginnings of replies from a JSON list of strings. Raises DataError unless the file is one, of two or more."""
    text = _text(path)
    try:
        suffixes = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); wanted: a JSON list of strings") from error
    if not isinstance(suffixes, list) or not all(isinstance(suffix, str) for suffix in suffixes):
        raise DataError(f"{path}: wanted: a JSON list of strings; found something else in it")
    if len(suffixes) < 2:
        raise DataError(f"{path}: {len(suffixes)} suffixes; a vector needs two at the least")
    for number, suffix in enumerate(suffixes, start=1):
        _check(suffix, f"{path}: string {number}")
    return suffixes


def read_contrast_prompts(path: Path) -> list[str]:
    """The requests in the column `forbidden_prompt` of a CSV; other columns are not used.

    Raises DataError where the column is missing, a row is longer or shorter than the header, a request is empty, or
    there are fewer than two.
    """
    try:
        header, *rows = list(csv.reader(io.StringIO(_text(path), newline=""), strict=True)) or [[]]
    except csv.Error as error:
        raise DataError(f"{path}: not CSV ({error})") from error
    if PROMPT_COLUMN not in header:
        raise DataError(f"{path}: no column {PROMPT_COLUMN} in the header, which is: {','.join(header):.80}")
    column = header.index(PROMPT_COLUMN)
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header) or not row[column].strip():
            raise DataError(f"{path}: record {number}: wanted: {','.join(header):.80}, with a {PROMPT_COLUMN}")
        _check(row[column], f"{path}: record {number}")
    if len(rows) < 2:
        raise DataError(f"{path}: {len(rows)} prompts; a vector needs two at the least")
    return [row[column] for row in rows]


def _check(text: str, where: str) -> None:
    """Raise DataError for a text that no tokenizer takes, or that no memory holds the reading of."""
    if len(text) > LONGEST:
        raise DataError(f"{where}: {len(text)} characters are too many to be read at once; cut it to {LONGEST}")
    if re.search("[\ud800-\udfff]", text):
        raise DataError(f"{where}: half of a pair of surrogates (\\ud800 to \\udfff) is no character; write it whole")


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")  # spreadsheets write the mark; line ends inside quotes are kept
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error


@dataclass(frozen=True)
class DataSet:
    """One data file: the key in `params.yaml` that replaces it, its builtin and original sources, and its format.

    builtin: its name among the builtin files. url_path: where the study's own file is, below the base URL, pinned by
    commit. sha256: of the study's own file. read: reads the file or raises DataError.
    """

    name: str
    parameter: str
    builtin: str
    url_path: str
    sha256: str
    read: Callable[[Path], list[str]]


DATA_SETS = {
    data_set.name: data_set
    for data_set in (
        DataSet(
            name="suffixes",
            parameter="data.suffixes",
            builtin="suffixes.json",
            url_path="vgel/repeng/0ba7196d81f7c5de28b1159c9d1732440afd97ce/notebooks/data/all_truncated_outputs.json",
            sha256="c87990913b839fa792b751b532a8f9abc372770bf4d34a1de358a3a233edb6e5",
            read=read_suffixes,
        ),
        DataSet(
            name="strongreject",
            parameter="data.contrast_prompts",
            builtin="contrast_prompts.csv",
            url_path="alexandrasouly/strongreject/3432b2d696b428f242bd507df96d80f686571d5e/"
            "strongreject_dataset/strongreject_dataset.csv",
            sha256="4dd70357e4ff8b5d0ba5ebafecab5d6dd5633ce8046e3dd1c8bd93e64de44381",
            read=read_contrast_prompts,
        ),
    )
}
