"""The documentation: it builds without a warning, asks nothing of the network, and its commands do what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
from ruamel.yaml import YAML

from tests.conftest import ROOT

MADE = {"make paper", "make test", ". .venv/bin/activate"}  # what .ci/run and the reader's shell do


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_site_builds_without_a_warning_and_opens_from_disk(tmp_path: Path) -> None:
    done = run(f"NO_MKDOCS_2_WARNING=1 mkdocs build --strict --site-dir {tmp_path}/site", ROOT)
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").glob("*.html"))
    names = {page.stem for page in pages}
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} <= names
    for page in pages:
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(
            r'<(?:script|img|iframe)[^>]*\ssrc="([^"]*)"|<link[^>]*rel="stylesheet"[^>]*href="([^"]*)"', text
        )
        assert fetched
        assert not [source for pair in fetched for source in pair if source.startswith(("http", "//"))]
    python = (tmp_path / "site" / "python.html").read_text(encoding="utf-8")
    assert 'id="introspection.engine.run.run_trials"' in python


def test_the_tutorials_commands_do_what_it_says(project: Path) -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ (.*)$", text, flags=re.MULTILINE)
    assert MADE & set(commands) and len(set(commands) - MADE) >= 4
    before = pd.read_csv(project / "results" / "organism" / "detection.csv")
    for command in [each for each in commands if each not in MADE]:
        done = run(command, project)
        assert done.returncode == 0, (command, done.stderr)
        if command.startswith("dvc status"):
            assert "injection@organism" in done.stdout
    strength = YAML(typ="safe").load(project / "params.yaml")["models"]["organism"]["strength"]
    after = pd.read_csv(project / "results" / "organism" / "detection.csv")
    concepts = after["vector"] == "cat"
    assert set(after.loc[concepts, "strength"]) == {strength} != set(before.loc[concepts, "strength"])
    assert (after.loc[concepts, "p_yes_base"] - before.loc[concepts, "p_yes_base"]).abs().max() < 1e-5
    assert (after.loc[concepts, "p_yes_injected"] - before.loc[concepts, "p_yes_injected"]).abs().max() > 1e-3


def test_the_example_in_python_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert example
    done = subprocess.run([sys.executable, "-c", example[1]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "p_yes_injected" in done.stdout and "lorem_ipsum" in done.stdout
