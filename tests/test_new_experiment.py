"""The page on a new experiment, followed to the letter: from the folder to the table in the PDF."""

from __future__ import annotations

import filecmp
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest

from tests.conftest import ROOT
from tests.processes import run_script
from tests.quicker_dvc import repository
from tests.small_study import code_of

PAGE = (ROOT / "docs" / "new-experiment.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^\*\*`(\S+)`\*\*\n\n```\w+\n(.*?)^```$", PAGE, flags=re.M | re.S)
MODEL = "organism"


def run(project: Path, *command: str) -> str:
    if command[0].endswith(".py"):
        done = run_script(project, *command, code=project)
    else:
        environment = os.environ | code_of(project)
        done = subprocess.run(
            [sys.executable, *command], cwd=project, env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def followed(project: Path) -> Path:
    """The project with the page's blocks in their files, and a study of one model that it has at hand."""
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    assert text.count("\n  models: [") == 1
    params.write_text(re.sub(r"\n  models: \[.*?\]", f"\n  models: [{MODEL}]", text), encoding="utf-8")
    for name, text in BLOCKS:
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    return project


def test_the_page_names_what_it_touches() -> None:
    table = PAGE.partition("| touched |")[2].partition("\n\n")[0]
    touched = re.findall(r"^\| `(\S+)` \|", table, flags=re.M)
    assert [place for place in touched if not any(name.startswith(place) for name, _ in BLOCKS)] == []
    assert [name for name, _ in BLOCKS if not name.startswith(tuple(touched))] == []
    assert PAGE.count("```") == 2 * len(BLOCKS)


def test_its_stage_declares_what_it_imports(followed: Path) -> None:
    asked = "from tests.dependencies import STAGES, declared, imported\nname = 'hesitation'\n"
    run(followed, "-c", f"{asked}assert declared(STAGES[name], code=True) == imported(name)")


def test_its_code_is_in_the_style_of_the_house(followed: Path) -> None:
    folder = "src/introspection/experiments/hesitation"
    run(followed, "-m", "ruff", "check", "--no-cache", folder)
    run(followed, "-m", "ruff", "format", "--no-cache", "--check", folder)


def test_the_plan_prices_it(followed: Path) -> None:
    assert re.search(r"^ +hesitation +\d", run(followed, "stages/plan.py"), flags=re.M)


def test_its_table_is_in_the_paper_and_nothing_else_has_changed(followed: Path) -> None:
    measured = [f"{stage}@{MODEL}" for stage in ("vectors", "prefill", "hesitation")]
    downloads = ["download@suffixes", "download@strongreject"]
    with repository(followed) as repo, patch.dict(os.environ, code_of(followed)):
        repo.reproduce([*downloads, *measured, "tables", "paper", "companion"], single_item=True)
    results = followed / "results" / MODEL
    committed = [path for path in (ROOT / "results" / MODEL).rglob("*") if path.suffix in (".csv", ".json")]
    names = [path.relative_to(ROOT).as_posix() for path in committed]
    assert names and filecmp.cmpfiles(ROOT, followed, names, shallow=False) == (names, [], [])
    pdf = followed / "paper" / "build" / "paper.pdf"
    text = " ".join(subprocess.run(["pdftotext", pdf, "-"], capture_output=True, text=True, check=True).stdout.split())
    assert f"Is {MODEL} about to answer at all?" in text
    least = pd.read_csv(results / "hesitation.csv")["p_answer_injected"].min()
    assert f"{100 * least:.3f}%" in text
    page = followed / "paper" / "build" / "companion" / MODEL / "hesitation.html"
    assert f"results/{MODEL}/hesitation.csv" in page.read_text(encoding="utf-8")
