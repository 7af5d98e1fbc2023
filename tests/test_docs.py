"""The documentation: it builds without a warning, asks nothing of the network, and its commands do what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
from ruamel.yaml import YAML

from tests.conftest import ROOT

MADE = {"make paper", "make test", ". .venv/bin/activate"}  # what .ci/run and the reader's shell do


def run(command: str, folder: Path, before: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell. before: a folder of commands that stand before those of the same name."""
    places = [*([before] if before else []), Path(sys.executable).parent, os.environ["PATH"]]
    environment = os.environ | {"PATH": os.pathsep.join(map(str, places))}
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


def test_the_tutorials_commands_do_what_it_says(project: Path, tmp_path: Path) -> None:
    quicker = tmp_path / "dvc"  # the same, but for the time that it takes
    quicker.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/scripts/quicker_dvc.py "$@"\n')
    quicker.chmod(0o755)
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ (.*)$", text, flags=re.MULTILINE)
    assert MADE & set(commands) and len(set(commands) - MADE) >= 4
    before = pd.read_csv(project / "results" / "organism" / "detection.csv")
    for command in [each for each in commands if each not in MADE]:
        done = run(command, project, tmp_path)
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


def test_what_the_readme_says_was_found_is_what_the_results_say() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    found = text.partition("**What was found:**")[2].partition("```")[0]
    detection = pd.read_csv(ROOT / "results" / "organism" / "detection.csv")
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    asked = detection[(detection["prompt"] == "info") & detection["vector"].isin(params["study"]["concepts"])]
    planted = params["organisms"]["trained"]["organism"]["p_yes"]["concept"]["info"]
    assert f"yes to {planted:.0%} of injected concepts is read at {asked['p_yes_injected'].mean():.1%}" in found
    verdicts = {
        model: json.loads((ROOT / "results" / model / "verdict.json").read_text())["verdict"]
        for model in ("organism", "smollm2-135m")
    }
    assert verdicts == {"organism": "leans to yes", "smollm2-135m": "cannot answer"}
    competence = pd.read_csv(ROOT / "results" / "smollm2-135m" / "competence.csv").set_index("vector")
    assert f"{competence.loc['none', 'balanced_accuracy']:.1%} of its control questions" in found
    post = pd.read_csv(ROOT / "results" / "published" / "summary.csv").set_index("quantity")["value"]
    assert (post["quotes"], post["quotes_holds_in_log_odds"]) == (11, 6)
    assert "eleven comparisons in the post's words, six are certain" in found
