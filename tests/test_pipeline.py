"""The pipeline as a whole: which stages a change reruns, and that the committed results are what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dvc.cli import main
from ruamel.yaml import YAML

from introspection.injection.repengs import ControlVector
from introspection.injection.vectors import load_vector, save_vector
from tests.conftest import ROOT
from tests.processes import run_script
from tests.quicker_dvc import repository, status, within

yaml = YAML(typ="safe")

WHOLE = {"check"}
"""Looks at params.yaml as a whole, whatever is edited."""


def stale(project: Path) -> set[str]:
    """The stages whose own dependencies or parameters have changed; those after them follow only if outputs change.

    What only the DVC cache holds, vectors and the like, is absent from a fresh clone: absent, it is not changed, and
    neither is a folder that lacks it.
    """
    changes = {
        stage: [entry if isinstance(entry, dict) else {entry: {}} for entry in entries]
        for stage, entries in status(project).items()
    }
    absent = [
        Path(path)
        for entries in changes.values()
        for entry in entries
        for path, state in entry.get("changed outs", {}).items()
        if state in ("not in cache", "deleted")
    ]

    def changed(entry: dict[str, dict[str, Any]]) -> bool:
        dependencies = entry.get("changed deps", {})
        here = [path for path in dependencies if not any(each.is_relative_to(path) for each in absent)]
        return "changed command" in entry or bool(here)

    return {stage for stage, entries in changes.items() if any(map(changed, entries))} - WHOLE


@pytest.fixture(scope="module")
def before(project: Path) -> set[str]:
    """What is stale as long as nothing is edited: each test leaves the project as it has found it."""
    return stale(project)


def edit(project: Path, changes: Mapping[str, Any]) -> Callable[[], None]:
    """Change parameters by their keys; returns what undoes that."""
    path = project / "params.yaml"
    before = path.read_bytes()
    values = yaml.load(before)
    for key, value in changes.items():
        *sections, name = key.split(".")
        section = values
        for part in sections:
            section = section[part]
        section[name] = value
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(values, file)
    return lambda: path.write_bytes(before) and None


PARAMS = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
ORGANISMS = PARAMS["organisms"]
ZOOS = {"examine": ORGANISMS["zoo"], "examine-grown": ORGANISMS["grown"]}
AGAIN = {f"lens-again@{seed}" for seed in ORGANISMS["again"]["seeds"]}
MODELS = ("organism", "organism-blind", "smollm2-135m")


def of_all(*stages: str) -> set[str]:
    return {f"{stage}@{model}" for stage in stages for model in MODELS}


ASKED = {
    "detection",
    "controls",
    "battery",
    "written",
    "lens",
    "content",
    "population",
    "suffixes",
    "places",
    "framing",
}
ASKED |= {"sweep", "chosen-range", "where", "which", "reader"}
OWN_VECTORS = {"population", "suffixes", "which", "reader"}  # not the study's
EXAMINED = {f"{stage}@{rule}-{seed}" for stage, zoo in ZOOS.items() for rule in zoo["rules"] for seed in zoo["seeds"]}
CLOSELY = {
    f"{stage}@{rule}-{seed}"
    for stage in ("curve-grown", "beyond-grown")
    for rule in PARAMS["curve"]["rules"]
    for seed in ORGANISMS["grown"]["seeds"]
}
CLOSELY |= {f"beyond-trained@{name}" for name in PARAMS["examined"]}
EXAMINED |= {f"examine-trained@{name}" for name in PARAMS["examined"]}

# What depends on the numbers of an injection follows only where the stage `injection` writes others.
OF_A_MODEL = [
    ("models.organism.strength", 33, {"model@organism", "injection@organism", "figures", "tables"} | AGAIN),
    (
        "models.organism.layers",
        [3, 4],
        {"model@organism", "injection@organism", "dose@organism", "figures", "tables"} | AGAIN,
    ),
    ("models.organism.device_map", "cpu", {"model@organism", "injection@organism", "figures", "tables"} | AGAIN),
]
"""Each in the same section, which some stages depend on as a whole: changed one after another."""

SEPARATE = [
    ("figures.palette", "deep", {"figures"}),
    ("sweep.earliest_start", 0.5, {"tables"} | of_all("choose-range", "injection")),
    ("controls.exclude_above", 0.5, {"tables"} | of_all("control-statistics")),
    ("dose.kl_at_most", 1.0, {"tables"} | of_all("injection")),
    ("battery.seed", 1, {"tables"} | of_all("battery-fit")),
    ("verdict.moved_at_least", 2.0, of_all("verdict") | EXAMINED),  # what shows it reads their files
    ("lens.weak_fraction", 0.5, {"tables"} | AGAIN | of_all("lens")),
    (
        "study.sign",
        "mean",
        {"figures", "tables"} | of_all("vectors", "suffixes", "suffix-intervals") | EXAMINED | CLOSELY | AGAIN,
    ),
    ("suffixes.resamples", 30, {"tables"} | of_all("suffixes")),
    ("suffixes.confidence", 0.8, {"tables"} | of_all("suffix-intervals")),
]
"""Changed at once: DVC says for each stage which of them have changed."""


@pytest.mark.parametrize(("key", "value", "expected"), OF_A_MODEL)
def test_a_changed_parameter_of_a_model_reruns_what_reads_it(
    project: Path, before: set[str], key: str, value: Any, expected: set[str]
) -> None:
    undo = edit(project, {key: value})
    try:
        assert stale(project) - before == expected
    finally:
        undo()


@pytest.fixture(scope="module")
def stale_for(project: Path) -> dict[str, set[str]]:
    """By name of a parameter, as stages depend on it, the stages for which it has changed."""
    undo = edit(project, {key: value for key, value, _ in SEPARATE})
    try:
        entries = status(project)
    finally:
        undo()
    assert not any("changed command" in of_stage for of_stage in entries.values())
    found: dict[str, set[str]] = {}
    for stage in entries.keys() - WHOLE:
        for entry in entries[stage]:
            for name in entry.get("changed deps", {}).get("params.yaml", {}):
                found.setdefault(name, set()).add(stage)
    return found


@pytest.mark.parametrize(("key", "expected"), [(key, expected) for key, _, expected in SEPARATE])
def test_a_changed_parameter_reruns_what_reads_it(stale_for: dict[str, set[str]], key: str, expected: set[str]) -> None:
    assert expected == {
        stage for name, stages in stale_for.items() if key == name or key.startswith(f"{name}.") for stage in stages
    }


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (
            "models.organism.strength",
            33.0,
            ASKED | {"samples"},
        ),
        ("models.organism.contrast.sample_strength", 33.0, {"samples", "chosen-range"}),
        ("models.organism.device_map", "cpu", set()),
        ("sweep.mode", "coarse_to_fine", {"sweep"}),
    ],
)
def test_what_an_injection_depends_on_reruns_what_it_touches(
    project: Path, before: set[str], key: str, value: Any, expected: set[str]
) -> None:
    """The stages `model` and `injection` run again; those follow whose file they write anew, and no other."""
    undo = edit(project, {key: value})
    folder = project / "results" / "organism"
    kept = {
        path: path.read_bytes() for path in (project / "dvc.lock", *folder.glob("injection/*"), folder / "model.json")
    }
    try:
        with repository(project) as repo:
            repo.reproduce(["check", "model@organism", "injection@organism"], single_item=True)
        found = {stage for stage in stale(project) - before if stage.endswith("@organism")}
        changed_key = {"choose-range"} if key == "sweep.mode" else set()
        assert found == {f"{stage}@organism" for stage in expected | changed_key}
    finally:
        undo()
        for path, data in kept.items():
            path.write_bytes(data)


def test_a_new_concept_reruns_the_vectors_and_what_shows_it_but_trains_nothing(project: Path, before: set[str]) -> None:
    undo = edit(project, {"study.concepts": ["cat", "bread", "love", "fear", "truth"]})
    try:
        found = stale(project) - before
        assert {"vectors@organism", "detection@organism", "figures", "tables"} <= found
        assert not {stage for stage in found if stage.startswith(("train", "download", "prefill", "published"))}
    finally:
        undo()


def test_a_changed_prompt_reruns_what_asks_it_and_trains_nothing(project: Path, before: set[str]) -> None:
    path = project / "data" / "prompts" / "detection.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("Trial 1:", "Trial 2:"), encoding="utf-8")
    try:
        found = stale(project) - before
        reading = of_all("prompts", "prompt-text", "prefill", "dose", "instrument", "verdict", *ASKED)
        assert found == reading | EXAMINED | CLOSELY | AGAIN | {"figures", "tables"}
    finally:
        path.write_text(text, encoding="utf-8")


def test_on_a_processor_that_rounds_otherwise_only_what_is_measured_anew_follows(project: Path) -> None:
    """As in `make paper`: the organism's vectors come out with other last bits, and no larger model runs again."""
    folder, lock = project / "results" / "organism" / "vectors", project / "dvc.lock"
    for made in ("download.py suffixes", "download.py strongreject", "prefill.py organism"):  # which no clone holds
        done = run_script(project, *f"stages/{made}".split(), code=project)
        assert done.returncode == 0, done.stderr
    kept = {path: path.read_bytes() for path in (lock, *folder.iterdir())}
    before = stale(project)
    try:
        for path in folder.iterdir():
            vector = load_vector(path)
            moved = {block: np.nextafter(direction, 2) for block, direction in vector.directions.items()}
            save_vector(ControlVector(vector.model_type, moved), path)
            assert path.read_bytes() != kept[path]
        with repository(project) as repo:
            repo.commit("vectors@organism", force=True)  # what a forced run of this stage alone records
        reran = stale(project) - before
        follows = {f"{stage}@organism" for stage in (ASKED | {"dose", "samples"}) - OWN_VECTORS}
        assert reran == follows | {"figures", "tables", "companion"}
        with repository(project) as repo:
            runs = [stage.addressing for stage in repo.reproduce(dry=True, allow_missing=True)]
        assert "detection@organism" in runs
        assert all(
            stage.endswith("@organism") or stage in {"figures", "tables", "paper", "companion"} for stage in runs
        )
    finally:
        for path, data in kept.items():
            path.write_bytes(data)


def test_what_is_committed_is_what_the_lock_file_says(before: set[str]) -> None:
    """Of everything that git holds, nothing is out of date; what the DVC cache holds may be missing in a clone."""
    assert before == set()


def test_the_figures_and_metrics_are_declared(project: Path) -> None:
    with repository(project) as repo:
        assert "results/organism/instrument.json" in repo.metrics.show()[""]["data"]
    with within(project):
        assert main(["plots", "show", "--out", "plots"]) == 0
    page = (project / "plots" / "index.html").read_text(encoding="utf-8")
    assert "<img" in page and "http" not in page.lower().replace("http-equiv", "")
