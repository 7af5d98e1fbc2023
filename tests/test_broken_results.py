"""Result files that are not what was written: whoever reads one names the file, and makes nothing of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from introspection.experiments import load
from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.subject import open_subject
from introspection.files import ResultError
from introspection.injection.filler import FilledStimuli
from introspection.injection.prefills import load_prefills
from introspection.injection.vectors import load_vector, save_vector
from introspection.paper.results import Results
from introspection.settings import Settings, load_settings
from tests.conftest import ROOT

MODEL = "organism"
READS = [
    ("sweep", "sweep.csv"),
    ("controls", "controls.csv"),
    ("competence", "controls.csv"),
    ("battery", "battery.csv"),
    ("population", "population.csv"),
    ("suffixes", "suffix_detection.csv"),
    ("instrument", "detection.csv"),
    ("instrument", "controls.csv"),
    ("instrument", "content.csv"),
    ("instrument", "samples.csv"),
    ("verdict", "battery_fit.csv"),
    ("verdict", "written.csv"),
]
FULL = {"sweep.csv", "controls.csv", "battery.csv", "detection.csv", "content.csv"}


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(ROOT / "params.yaml")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a model's results, in the place of the project."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(ROOT / "results" / MODEL, tmp_path / "results" / MODEL)


def last_number(text: str) -> str:
    """The last cell of the second line as a number that is none."""
    lines = text.splitlines(keepends=True)
    head, _, _ = lines[1].rpartition(",")
    return "".join([lines[0], f"{head},nan\n", *lines[2:]])


DAMAGES: dict[str, Callable[[str], str]] = {
    "a doubled row": lambda text: text + text.splitlines(keepends=True)[-1],
    "a lost column": lambda text: "".join(line.partition(",")[2] for line in text.splitlines(keepends=True)),
    "cut in a line": lambda text: text[: len(text) * 2 // 3].rpartition(",")[0],
    "nothing": lambda text: "",
    "no table": lambda text: '"' + text,
}


@pytest.mark.parametrize(("experiment", "name"), READS)
def test_what_sums_up_a_broken_table_names_it(results: Path, settings: Settings, experiment: str, name: str) -> None:
    path = results / name
    whole = path.read_text(encoding="utf-8")
    damages = dict(DAMAGES)
    if name != "samples.csv":  # which ends with text
        damages |= {"NaN": last_number}
    if name in FULL:
        damages |= {"a lost row": lambda text: "".join(text.splitlines(keepends=True)[:-1])}
    for what, damage in damages.items():
        path.write_text(damage(whole), encoding="utf-8")
        with pytest.raises(ResultError, match=rf"^results/{MODEL}/{name}: ") as error:
            load(experiment, "summary").summarise(settings, MODEL, Path("results") / MODEL)
        assert "\n" not in str(error.value), what
    path.write_bytes(whole.encode("utf-16"))
    with pytest.raises(ResultError, match=rf"^results/{MODEL}/{name}: "):
        load(experiment, "summary").summarise(settings, MODEL, Path("results") / MODEL)


def test_the_report_reads_no_broken_table(results: Path) -> None:
    path = results / "detection.csv"
    whole = path.read_text(encoding="utf-8")
    lost = "".join(whole.splitlines(keepends=True)[:-1])
    for text, what in ((lost, "is missing"), (last_number(whole), "logit_difference_injected"), (whole + whole, "")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ResultError, match=rf"results/{MODEL}/detection\.csv: .*{what}"):
            Results(Path()).read(DETECTION, MODEL)


def subject(settings: Settings, results: Path) -> Any:
    stimuli = FilledStimuli.of_model(Path("data/prompts"), results)
    return open_subject(settings, MODEL, settings.models[MODEL], stimuli, results)


@pytest.mark.parametrize(
    ("name", "asked"),
    [("range.json", "chosen_layers"), ("injection/questions.json", "questions"), ("injection/replies.json", "replies")],
)
def test_a_range_outside_the_model_is_not_carried_out(results: Path, settings: Settings, name: str, asked: str) -> None:
    values = json.loads((results / name).read_text())
    opened = subject(settings, Path("results") / MODEL)
    for first, last in ((3, 8), (0, 4), (5, 4), (-1, 3)):
        (results / name).write_text(json.dumps(values | {"first_layer": first, "last_layer": last}))
        vars(opened).pop(asked, None)
        with pytest.raises(ResultError, match=rf"results/{MODEL}/{name}: the range \[{first}, {last}\] is not in the"):
            getattr(opened, asked)
    for text in ("", "{", "[]", json.dumps(values | {"last_layer": "NaN"}), "[" * 100_000):
        (results / name).write_text(text)
        vars(opened).pop(asked, None)
        with pytest.raises(ResultError, match=rf"^results/{MODEL}/{name}: .*; make it with `dvc repro "):
            getattr(opened, asked)


@pytest.mark.parametrize("asked", ["questions", "replies", "sweep"])
def test_a_strength_that_leaves_nothing_of_a_state_is_not_carried_out(
    results: Path, settings: Settings, asked: str
) -> None:
    path = results / "injection" / f"{asked}.json"
    values = json.loads(path.read_text())
    opened = subject(settings, Path("results") / MODEL)
    for strength in (1e39, -1e10):  # in float32 infinite, or so large that its square is
        path.write_text(json.dumps(values | {"strength": strength}))
        with pytest.raises(ResultError, match=rf"^results/{MODEL}/injection/{asked}.json: strength: .*make it with"):
            getattr(opened, asked)


def test_a_vector_of_another_model_or_of_nothing_is_not_injected(results: Path, settings: Settings) -> None:
    path = Path("results") / MODEL / "vectors" / "cat.gguf"
    whole = load_vector(path)
    opened = subject(settings, Path("results") / MODEL)

    def changed(change: Callable[[dict[int, Any]], Any]) -> None:
        vector = load_vector(ROOT / path)
        change(vector.directions)
        save_vector(vector, path)

    for change, told in (
        (lambda d: d.pop(7), r"is of a model of 7 blocks of width 192, and this one has 8 of 192"),
        (lambda d: d.pop(2), r"cat has directions for the blocks \[1, 3, 4"),
        (lambda d: d[3].fill(0), "at block 3 is zero or not finite"),
        (lambda d: d[3].fill(float("nan")), "at block 3 is zero or not finite"),
        (lambda d: d.update({k: v[:100] for k, v in d.items()}), "is of a model of 8 blocks of width 100"),
    ):
        changed(change)
        with pytest.raises(ResultError, match=rf"{path}: .*{told}"):
            opened.directions(["cat"])
    assert len(whole.directions) == 7
    path.unlink()
    with pytest.raises(ResultError, match=rf"{path}: no such vector; make it with `dvc repro .*vectors@{MODEL}`"):
        opened.directions(["cat"])


def test_a_cut_cache_of_the_finetune_is_named(tmp_path: Path) -> None:
    path = tmp_path / "organism.safetensors"
    for data in (b"", b"\x08\0\0\0\0\0\0\0{}      ", b"\xff" * 100):
        path.write_bytes(data)
        with pytest.raises(ResultError, match=r"organism\.safetensors: .* `dvc repro .*prefill@organism`"):
            load_prefills(path)
