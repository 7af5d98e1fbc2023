"""What an edit makes stale: docs/reruns.md, against what DVC says of all of its edits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.dependencies import PIPELINE
from tests.processes import run_script
from tests.quicker_dvc import status
from tests.small_study import edited

STRUCTURE = re.findall(r"\$\{([\w.]+)\}", (ROOT / "dvc.yaml").read_text(encoding="utf-8"))
"""Keys whose values are names of stages or of files: with others there are other stages."""

ROWS = re.findall(r"^\| `(\S+)` \| (.+) \|$", (ROOT / "docs" / "reruns.md").read_text(encoding="utf-8"), flags=re.M)


def test_the_page_is_what_dvc_yaml_declares(tmp_path: Path) -> None:
    assert run_script(ROOT, "stages/document_reruns.py", str(tmp_path / "page.md")).returncode == 0
    assert (tmp_path / "page.md").read_text() == (ROOT / "docs" / "reruns.md").read_text()
    assert len(ROWS) >= 40


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return 0 if value is None else f"{value} and more"


def change_all(values: Any, name: str = "") -> Iterator[str]:
    """Change whatever is no name of a stage, or of a file; the changed keys."""
    for key, value in values.items():
        path = f"{name}.{key}" if name else str(key)
        if isinstance(value, dict):
            yield from change_all(value, path)
        elif path not in STRUCTURE and key not in ("base", "texts"):
            values[key] = [*value, changed(value[-1])] if isinstance(value, list) else changed(value)
            yield path


@pytest.fixture(scope="module")
def edits(project: Path) -> dict[str, set[str]]:
    """After edits of all keys, and of a file of each folder, by what DVC finds edited, the stages that this is for.

    A path begins with ./, and a key that was edited and is of no stage has none.
    """
    with edited(project / "params.yaml") as values:
        found: dict[str, set[str]] = {key: set() for key in change_all(values)}
    for edit in (edit for edit, _ in ROWS if "/" in edit):
        for path in project.glob(edit):
            files = [each for each in sorted(path.rglob("*")) if each.is_file() and "__pycache__" not in each.parts]
            with (files[0] if path.is_dir() else path).open("ab") as file:
                file.write(b"\n")
    for stage, entries in status(project).items():
        for entry in entries:
            for path, state in (entry.get("changed deps", {}) if isinstance(entry, dict) else {}).items():
                for name, what in (state if isinstance(state, dict) else {f"./{path}": state}).items():
                    if what == "modified":
                        found.setdefault(name, set()).add(stage.partition("@")[0])
    return found


def around(name: str, edit: str) -> bool:
    """Whether a key or a path is the place of an edit, or holds it."""
    parts, place = (text.split("/" if text.startswith("./") else ".") for text in (name, edit))
    return len(parts) <= len(place) and all(
        fnmatchcase(one, other) or one == "*" for one, other in zip(parts, place, strict=False)
    )


def test_an_edit_makes_those_stages_stale_that_the_page_names(edits: dict[str, set[str]]) -> None:
    there = {stage for stages in edits.values() for stage in stages}
    wrong, seen = [], 0
    for row, named in ROWS:
        edit = f"./{row}" if "/" in row else row
        if any(around(edit, name) for name in edits):  # else none was made
            expected = set(re.findall(r"`([^`]+)`", named)) & there
            found = {stage for name, stages in edits.items() if around(name, edit) for stage in stages}
            seen += 1
            if found != expected:
                wrong.append(f"{edit}: DVC says {sorted(found)}, the page {sorted(expected)}")
    assert not wrong, "\n".join(wrong)
    assert seen > 40 and len(there) >= len(PIPELINE) - 8
