"""The documentation: it builds without a warning, asks nothing of the network, and its commands do what it says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
from dvc.cli import main
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.processes import run_script
from tests.quicker_dvc import within

MADE = {"make paper", "make test", ". .venv/bin/activate"}  # what .ci/run and the reader's shell do


def run(project: Path, command: str) -> str:
    """Run a line of a shell, DVC and stages in processes that have their libraries, and return what is said."""
    if command.startswith("dvc repro "):
        with within(project):
            assert main(shlex.split(command)[1:]) == 0
        return ""
    if command.startswith("python stages/"):
        done = run_script(project, *shlex.split(command)[1:], code=project)
    else:
        done = shell(command, project)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_site_builds_without_a_warning_and_opens_from_disk(tmp_path: Path) -> None:
    done = shell(f"NO_MKDOCS_2_WARNING=1 mkdocs build --strict --site-dir {tmp_path}/site", ROOT)
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
    for made in ("download.py suffixes", "download.py strongreject", "prefill.py organism"):  # as `make paper` has
        run(project, f"python stages/{made}")
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ (.*)$", text, flags=re.MULTILINE)
    assert MADE & set(commands) and len(set(commands) - MADE) >= 4
    before = pd.read_csv(project / "results" / "organism" / "detection.csv")
    for command in [each for each in commands if each not in MADE]:
        found = run(project, command)
        if command.startswith("dvc status"):
            assert "injection@organism" in found
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
    (tmp_path / "example.py").write_text(example[1], encoding="utf-8")
    done = run_script(ROOT, tmp_path / "example.py", code=ROOT)
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
    zoo = json.loads((ROOT / "results" / "confusion" / "confusion.json").read_text())["zoo"]
    assert (zoo["organisms"], zoo["right"], zoo["taken"]) == (30, 14, {"organisms": 10, "right": 6})
    assert (
        "of thirty organisms, three for each of ten explanations planted in them, the rules put fourteen where" in found
    )
    assert "and six of the ten in which the planting took" in found
    curve = pd.read_csv(ROOT / "results" / "curves" / "notices-1" / "curve.csv")
    end = curve[curve["step"] == curve["step"].max()].set_index(["test", "injected"]).sort_index()
    assert (end.loc["controls", "value"] == 1).all()
    yes = end.loc["detection", "value"]
    assert f"yes with {yes['concept']:.0%} under concepts and {yes['none']:.0%} under nothing" in found
    verdict = json.loads((ROOT / "results" / "grown" / "notices-1" / "verdict.json").read_text())
    assert "wording" in verdict["failed"]
    choices = end.loc[["where", "which"]]
    assert (choices["low"] <= choices["wanted"]).all()
    where = pd.read_csv(ROOT / "results" / "beyond" / "organism-locating" / "where_summary.csv")
    half = where[(where["kind"] == "concept") & (where["task"] == "half") & (where["readout"] == "raw")].iloc[0]
    assert f"the right half of a text in {half['accuracy_injected']:.0%} of trials" in found
    assert half["accuracy_injected_low"] > half["chance"] > 0.49 and half["difference_p"] < 0.05
    reading = json.loads((ROOT / "results" / "trained" / "organism-reading" / "verdict.json").read_text())
    assert reading["verdict"] == "reads the text" and "is found to read the text" in found
