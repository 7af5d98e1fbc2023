"""`introspection try`: against the study's result files, the study's own procedure, and a vector's own file format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from gguf import GGUFWriter
from nbclient import NotebookClient
from repeng import ControlVector

from introspection.command import main
from introspection.experiments.subject import Subject
from introspection.files import SUFFIXES
from introspection.workbench import Outcome, Request, RequestError, inject, open_model, vector_of
from introspection.workbench.display import sparkline
from introspection.workbench.request import layers_of, strength_of
from tests.conftest import ROOT

RESULTS = ROOT / "results" / "organism"
NOTEBOOK = ROOT / "notebooks" / "try.ipynb"
HIDDEN, BLOCKS = 192, 8  # of the organism


@pytest.fixture(autouse=True)
def in_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A folder that has of the repository what is read, and a cache of its own."""
    for name in ("params.yaml", "models", "results"):
        (tmp_path / name).symlink_to(ROOT / name)
    data = tmp_path / "data"
    data.mkdir()
    (data / "prompts").symlink_to(ROOT / "data" / "prompts")
    (data / "raw").mkdir()
    (tmp_path / SUFFIXES).symlink_to(ROOT / "data" / "builtin" / "suffixes.json")
    monkeypatch.chdir(tmp_path)
    yield


@pytest.fixture(scope="module")
def organism() -> Subject:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return open_model("organism").loaded()


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["try", *arguments])


def study(name: str, **keys: str) -> pd.Series:
    table = pd.read_csv(RESULTS / name, keep_default_na=False)
    (row,) = [row for _, row in table.iterrows() if all(row[key] == value for key, value in keys.items())]
    return row


def same_readout(answer: dict[str, Any], row: pd.Series) -> None:
    for arm in ("base", "injected"):
        for name in ("p_yes", "p_no", "answer_mass", "log_odds_yes", "logit_difference"):
            assert answer[arm][name] == pytest.approx(float(row[f"{name}_{arm}"]), abs=1e-3), (arm, name)
    shift = float(row["log_odds_yes_injected"]) - float(row["log_odds_yes_base"])
    assert answer["shift"] == pytest.approx(shift, abs=2e-3) and abs(shift) > 0.01


@pytest.mark.parametrize(
    ("request_", "vector"),
    [
        (["--concept", "cat"], "cat"),
        (["--concept", "bread", "--negated"], "negated_bread"),
        (["--random", "0"], "random_1"),
        (["--vector", str(RESULTS / "vectors" / "love.gguf")], "love"),
    ],
)
def test_at_the_studys_dose_it_shows_the_studys_numbers(request_: list[str], vector: str) -> None:
    """The concept's vector is trained here, without the files of the study."""
    done = run("organism", *request_, "--questions", "2", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["injected"]["strength"] == float(study("detection.csv", vector=vector, prompt="info")["strength"])
    same_readout(found["answer"], study("detection.csv", vector=vector, prompt="info"))
    assert [each["expected"] for each in found["controls"]].count("yes") == 2 == len(found["controls"]) / 2
    for control in found["controls"]:
        same_readout(control["answer"], study("controls.csv", vector=vector, question=control["question"]))


def test_lens_gained_tokens_and_replies_are_the_studys(organism: Subject) -> None:
    found = inject(organism, Request(concept="cat", new_tokens=40))
    lens = pd.read_csv(RESULTS / "lens.csv").query("vector == 'cat' and scenario == 'info'").sort_values("layer")
    for arm in ("base", "injected"):
        assert getattr(found.lens, arm) == pytest.approx(list(lens[f"p_yes_{arm}"]), abs=1e-3)
    boosted = pd.read_csv(RESULTS / "boosted.csv", keep_default_na=False).query("vector == 'cat' and prompt == 'info'")
    named = [each for each in found.gained if each.after != "The answer is"]
    assert [each.token for each in named] == list(boosted["token"][: len(named)])
    assert [each.p_injected for each in named] == pytest.approx(list(boosted["p_injected"][: len(named)]), abs=1e-3)
    samples = pd.read_csv(RESULTS / "samples.csv").set_index("intervention")["text"]
    asked, talk = found.replies
    assert (talk.base.text, talk.injected.text) == (samples["none"], samples["cat"])
    assert talk.injected.steered and not talk.base.steered and all(each.steered for each in talk.read)
    assert not asked.injected.steered and asked.injected.text.startswith("The answer is")


def test_turn_1_alone_is_marked_as_steered(organism: Subject) -> None:
    asked = inject(organism, Request(concept="cat", new_tokens=2)).replies[0]
    system, turn_1, turn_2 = asked.read
    assert [each.steered for each in asked.read] == [False, True, False]
    first = organism.stimuli.detection["info"][1].content
    assert first in turn_1.text and "{ }" in turn_1.text and first not in system.text + turn_2.text
    assert organism.stimuli.detection["info"][3].content in turn_2.text


def test_a_steered_reply_begins_with_the_token_that_was_read(organism: Subject) -> None:
    """The reply comes of a cache and the answer of one pass: the most probable token is the same."""
    found = inject(organism, Request(concept="cat", new_tokens=1))
    for arm, reply in (("base", found.replies[0].base), ("injected", found.replies[0].injected)):
        reading = getattr(found.answer, arm)
        assert reply.text == "The answer is" + (" yes" if reading.p_yes > 0.5 else " no")


def test_words_of_ones_own_take_the_place_of_either_turn(organism: Subject) -> None:
    found = inject(organism, Request(random=3, turn_1="The sea is wide.", turn_2="Is a thought there?", new_tokens=1))
    read = [each.text for each in found.replies[0].read]
    assert "The sea is wide." in read[1] and "Is a thought there?" in read[2] and len(read[1]) < 200
    other = inject(organism, Request(random=3, turn_1="The sea is wide.", new_tokens=0))
    assert other.answer.base != found.answer.base and other.replies == ()


def test_nothing_injected_changes_nothing(organism: Subject) -> None:
    found = inject(organism, Request(random=0, strength=0.0, new_tokens=4))
    assert found.answer.base == found.answer.injected and found.answer.shift == 0
    assert found.lens.base == found.lens.injected
    assert all(reply.base.text == reply.injected.text for reply in found.replies)


def test_a_fraction_of_the_norm_is_the_studys(organism: Subject) -> None:
    calibration = json.loads((RESULTS / "injection" / "calibration.json").read_text())
    found = inject(organism, Request(random=0, strength=strength_of("of_norm=0.3"), new_tokens=0)).injected
    assert found.strength == pytest.approx(0.3 * calibration["norm"], rel=1e-3)
    assert found.fraction == pytest.approx(0.3, rel=1e-3) and found.length == pytest.approx(1, abs=1e-5)


def test_a_vector_is_trained_once(organism: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    first = vector_of(organism, Request(concept="ocean"))
    monkeypatch.setattr("introspection.workbench.vectors.concept_vectors", None)
    again = vector_of(organism, Request(concept="ocean"))
    assert again == first
    with pytest.raises(TypeError):
        vector_of(organism, Request(concept="river"))


def test_what_a_vector_is_made_of_is_in_its_hash(organism: Subject) -> None:
    vector_of(organism, Request(concept="ocean"))
    SUFFIXES.unlink()
    SUFFIXES.write_text(json.dumps(["Well,", "So", "I think"]))
    fresh = open_model("organism").loaded()
    vector_of(fresh, Request(concept="ocean"))
    assert len(list(Path(".work/vectors").glob("*.gguf"))) == 2


def test_a_saved_vector_is_repengs_and_the_same_when_it_comes_back(organism: Subject) -> None:
    done = run("organism", "--concept", "ocean", "--negated", "--new-tokens", "0", "--save", "sea.gguf", "--json")
    assert done.exit_code == 0, done.output
    trained = vector_of(organism, Request(concept="ocean"))
    saved = ControlVector.import_gguf("sea.gguf")
    assert all(np.array_equal(saved.directions[block], -trained.directions[block]) for block in trained.directions)
    back = run("organism", "--vector", "sea.gguf", "--new-tokens", "0", "--json")
    assert json.loads(back.stdout)["answer"] == json.loads(done.stdout)["answer"]


def test_the_terminal_shows_both_arms() -> None:
    done = run("organism", "--concept", "cat", "--new-tokens", "4")
    assert done.exit_code == 0, done.output
    row = study("detection.csv", vector="cat", prompt="info")
    shown = done.stdout
    for arm in ("base", "injected"):
        assert f"{float(row[f'p_yes_{arm}']):.2%}" in shown and f"{float(row[f'log_odds_yes_{arm}']):.2f}" in shown
    assert f"{float(row['log_odds_yes_injected']) - float(row['log_odds_yes_base']):+.2f}" in shown
    for words in ("control questions", "logit lens", "tokens that gained", "top of mind", "model loaded in"):
        assert words in shown


def test_words_do_nothing_to_the_terminal() -> None:
    words = ("--turn-1", "\x1b[2Ja\x07", "--turn-2", "\x9b2Jb")
    done = run("organism", "--random", "1", *words, "--questions", "0", "--new-tokens", "2")
    assert done.exit_code == 0, done.output
    assert not {"\x1b", "\x07", "\x9b"} & set(done.output)
    assert r"\x1b[2Ja\x07" in done.stdout and r"\x9b2Jb" in done.stdout


def test_a_sparkline_goes_from_nothing_to_all() -> None:
    assert sparkline([0, 0.125, 0.5, 0.99, 1]) == "▁▂▅██"


def test_a_folder_is_a_model_that_needs_layers_and_a_strength(folders: dict[str, Path]) -> None:
    folder = str(folders["qwen2"])
    assert "layers" in refused(folder, "--random", "1") and "1 <= FIRST" in refused(folder, "--random", "1")
    assert "calibrated" in refused(folder, "--random", "1", "--layers", "1:2")
    given = ("--random", "1", "--layers", "1:2", "--strength", "of_norm=0.5", "--new-tokens", "0", "--json")
    found = json.loads(run(folder, *given).stdout)
    assert found["injected"]["fraction"] == pytest.approx(0.5, rel=1e-3) and len(found["lens"]["base"]) == 6


# What is refused, in one line, before weights are read.


def refused(*arguments: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("introspection.experiments.subject.load_model", None)  # would end in a TypeError
        done = run(*arguments)
    assert done.exit_code == 2, (done.output, done.exception)
    (line,) = done.stderr.strip().splitlines()
    return line.removeprefix("Error: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["orgnism", "--random", "1"], ["'orgnism'", "organism, organism-blind"]),
        (["models/none", "--random", "1"], ["models/none", "save_pretrained"]),
        (["organism"], ["none of them", "concept, vector"]),
        (["organism", "--concept", "cat", "--random", "1"], ["concept and random"]),
        (["organism", "--concept", "  "], ["concept ", "is empty", "write some words"]),
        (["organism", "--concept", "cat", "--turn-1", ""], ["turn_1 '' is empty"]),
        (["organism", "--concept", "cat", "--layers", "4:8"], ["4:8", "8 blocks", "<= 7"]),
        (["organism", "--concept", "cat", "--layers", "0:3"], ["0:3", "1 <= FIRST"]),
        (["organism", "--concept", "cat", "--layers", "5:4"], ["5:4", "FIRST <= LAST"]),
        (["organism", "--concept", "cat", "--layers", "a:b"], ["'a:b'", "10:20"]),
        (["organism", "--concept", "cat", "--strength", "much"], ["'much'", "of_norm=FRACTION"]),
        (["organism", "--concept", "cat", "--strength", "nan"], ["'nan'", "a number"]),
        (["organism", "--concept", "cat", "--strength", "of_norm=-1"], ["'of_norm=-1'", "of_norm=FRACTION"]),
        (["organism", "--concept", "cat", "--strength", "of_nrm=1"], ["'of_nrm=1'", "of_norm=FRACTION"]),
        (["organism", "--concept", "cat", "--prompt", "inf"], ["'inf'", "no_info, info"]),
        (["organism", "--concept", "cat", "--questions", "-1"], ["questions -1", "0 or more"]),
        (["organism", "--vector", "none.gguf"], ["none.gguf", "no such file"]),
        (["organism", "--vector", "\x1b[2J.gguf"], ["\\x1b[2J.gguf", "no such file"]),
        (["models/\x1b[2J", "--random", "1"], ["models/\\x1b[2J", "save_pretrained"]),
    ],
)
def test_what_cannot_be_tried_is_said_in_a_line(arguments: list[str], words: list[str]) -> None:
    line = refused(*arguments)
    assert all(word in line for word in words), line


def test_it_says_what_to_do_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "params.yaml: cannot be read" in refused("organism", "--random", "1")


def test_missing_suffixes_name_the_stage_that_brings_them(organism: Subject) -> None:
    SUFFIXES.unlink()
    with pytest.raises(RequestError, match="dvc repro download"):
        vector_of(open_model("organism"), Request(concept="cat"))


def llama_cpp_file(
    path: Path, directions: dict[int, np.ndarray], hint: str = "qwen2", arch: str = "controlvector"
) -> Path:
    """As llama.cpp's cvector-generator writes it: llama.cpp's own keys, blocks in rising order."""
    writer = GGUFWriter(path, arch)
    writer.add_string("controlvector.model_hint", hint)
    writer.add_uint32("controlvector.layer_count", len(directions))
    for block, direction in sorted(directions.items()):
        writer.add_tensor(f"direction.{block}", direction)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def directions(hidden: int = HIDDEN, blocks: int = BLOCKS, dtype: Any = np.float32) -> dict[int, np.ndarray]:
    generator = np.random.default_rng(5)
    return {block: generator.normal(size=hidden).astype(dtype) for block in range(1, blocks)}


def test_a_vector_of_llama_cpp_is_injected_as_it_is(organism: Subject, tmp_path: Path) -> None:
    made = directions()
    path = llama_cpp_file(tmp_path / "made.gguf", made)
    vector = vector_of(organism, Request(vector=path))
    assert all(np.array_equal(vector.directions[block], made[block]) for block in made)
    length = float(np.mean([np.linalg.norm(made[block]) for block in (4, 5)]))
    found = inject(organism, Request(vector=path, strength=2.0, new_tokens=0))
    assert found.injected.length == pytest.approx(length, rel=1e-5)
    units = {block: made[block] / length for block in made}
    unit = llama_cpp_file(tmp_path / "unit.gguf", units)
    again = inject(organism, Request(vector=unit, strength=2 * length, new_tokens=0))
    assert again.answer.shift == pytest.approx(found.answer.shift, abs=1e-3)


def test_files_that_are_no_vector_of_this_model_are_refused(tmp_path: Path) -> None:
    def line(path: Path, *more: str) -> str:
        return refused("organism", "--vector", str(path), *more)

    good = directions()
    nan = good | {3: np.where(np.arange(HIDDEN) == 7, np.nan, good[3]).astype(np.float32)}
    found = line(llama_cpp_file(tmp_path / "nan.gguf", nan))
    assert "nan.gguf" in found and "direction.3 holds NaN" in found
    found = line(llama_cpp_file(tmp_path / "wide.gguf", directions(hidden=64)))
    assert "has 64 numbers" in found and "192" in found and "another model" in found
    assert "blocks 1 to 29" in line(llama_cpp_file(tmp_path / "deep.gguf", directions(blocks=30)))
    assert "made for a llama" in line(llama_cpp_file(tmp_path / "llama.gguf", good, hint="llama"))
    assert "holds a qwen2" in line(llama_cpp_file(tmp_path / "model.gguf", good, arch="qwen2"))
    assert "F16" in line(llama_cpp_file(tmp_path / "half.gguf", directions(dtype=np.float16)))
    assert "no directions" in line(llama_cpp_file(tmp_path / "none.gguf", {}))
    few = llama_cpp_file(tmp_path / "few.gguf", {4: good[4]})
    assert "no direction for block 5" in line(few, "--layers", "4:5")
    (tmp_path / "text.gguf").write_text("not a vector")
    assert "not a GGUF file" in line(tmp_path / "text.gguf")


# Five lines of Python, and the notebook.


def test_five_lines_of_python_are_enough() -> None:
    lines = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert len([line for line in lines.splitlines() if line.strip()]) == 5
    names: dict[str, Any] = {}
    exec(lines, names)
    assert isinstance(names["found"], Outcome)
    json.dumps(asdict(names["found"]), allow_nan=False)


def test_the_notebook_runs_and_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)
    Path("notebooks").mkdir()
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": "notebooks"}}).execute()
    assert "shift, nats" in str(cells[-1].outputs)


def test_words_are_read_as_numbers() -> None:
    assert (layers_of("10:20"), layers_of("7")) == ((10, 20), (7, 7))
    assert (strength_of("40"), strength_of("-2.5"), strength_of("calibrated")) == (40, -2.5, "calibrated")
