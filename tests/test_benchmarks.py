"""The benchmarks themselves: a faster wrong answer fails, time and memory are what they are, the GPU script runs."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from ruamel.yaml import YAML
from torch.nn.functional import scaled_dot_product_attention

from benchmarks import h200, question, run
from benchmarks.measure import Arm, in_child, largest_difference, parts_of, timed
from benchmarks.stages import SHARES, table
from benchmarks.table import as_markdown, compare, parts_as_markdown
from tests.conftest import ROOT

OURS = Arm(1.0, 2**20, {"p": np.array([0.5, 0.25])}, block_tokens=100, operations=6e9, rate=1e10)
THEIRS = Arm(5.0, 2**21, {"p": np.array([0.5, 0.25])}, block_tokens=500, scale=2.0)


def test_a_row_says_ratio_counts_and_share() -> None:
    row = compare("a", "b", OURS, THEIRS, 8.0)
    assert (row.ratio, row.allowed, row.share, row.difference, row.met) == (10.0, 5.0, 0.6, 0.0, True)
    assert compare("a", "b", OURS, THEIRS, 0.95).target == pytest.approx(4.75)
    assert not compare("a", "b", OURS, THEIRS, 11.0).met
    text = as_markdown([row, compare("a", "b", OURS, THEIRS, 11.0)]).splitlines()
    assert "**10**" in text[2] and "60%" in text[2] and "2 MiB" in text[2] and "missed" not in text[2]
    assert "missed" in text[3]
    assert {line.count("|") for line in text} == {text[0].count("|")}


def test_the_parts_of_a_run_are_shares_of_its_time() -> None:
    left, right = torch.rand(600, 600), torch.rand(600, 600)
    shares = parts_of(lambda: {str(n): (left @ right).numpy() for n in range(20)})
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=lambda kind: shares[kind]) == "matrix products" and shares["attention"] == 0
    heads = torch.rand(1, 4, 800, 32)
    attended = parts_of(lambda: {str(n): scaled_dot_product_attention(heads, heads, heads).numpy() for n in range(20)})
    assert max(attended, key=lambda kind: attended[kind]) == "attention"


def test_where_the_time_goes_is_shown_once_for_each_benchmark() -> None:
    row = compare("a", "b", replace(OURS, parts={"matrix products": 0.75, "besides": 0.25}), THEIRS, 8.0)
    text = parts_as_markdown([row, replace(row, baseline="another"), compare("c", "b", OURS, THEIRS, 8.0)])
    assert text.splitlines() == ["| benchmark | matrix products | besides |", "|---|---|---|", "| a | 75% | 25% |"]
    assert parts_as_markdown([]) == "Not measured in this run."


def test_the_stages_of_a_run_are_timed_from_its_log() -> None:
    log = "Running stage 'check':\nstage check: 7.6 s\nhalf a line\rstage detection@a: 9.8 s\nstage where@a: 52.0 s\n"
    text = table(log + "it says stage x: 3 s\n", "Noted.")
    assert "Noted." in text
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
    assert ["the study", "0.2", "0.1", "0.3"] in cells
    assert ["where, which, reader, text, frame", "0.9", "0.0", "0.9"] in cells
    assert ["check", "", "8"] in cells and ["detection", "10", ""] in cells and ["where", "52", ""] in cells


def test_what_each_stage_is_for_is_said() -> None:
    known = {stage for stages in SHARES.values() for stage in stages.split()}
    pipeline = set(YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
    assert pipeline - {name for name in pipeline if name.startswith("train")} == known | {"elsewhere"}


def test_a_faster_wrong_answer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Arm(0.1, 0, {"p": np.array([0.5, 0.26])}, block_tokens=100)
    row = compare("sweep of nothing", "b", wrong, THEIRS, 2.0)
    assert row.ratio > row.target and not row.met and "WRONG" in as_markdown([row])
    monkeypatch.setitem(run.SUITES, "sweep", lambda: [row])
    result = CliRunner().invoke(run.main, ["--only", "sweep"])
    assert result.exit_code == 1 and "sweep of nothing" in result.output
    with pytest.raises(ValueError, match="outputs"):
        largest_difference({"p": np.zeros(1)}, {"q": np.zeros(1)})


def test_work_in_a_child_returns_its_result_or_its_failure() -> None:
    assert in_child(lambda a: a + 1, 2) == 3
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        in_child(lambda: 1 // 0)


def test_time_and_peak_memory_are_measured() -> None:
    def work() -> dict[str, np.ndarray]:
        time.sleep(0.01)
        return {"sum": np.array(np.ones(2**26).sum())}  # 512 MiB: the kernel takes back tens of them meanwhile

    seconds, peak, outputs = in_child(timed, work)
    assert 0.01 <= seconds < 5 and outputs["sum"] == 2**26
    assert 2**29 * 0.9 < peak < 2**29 * 2


def test_the_page_shows_everything_that_was_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    row = compare("a benchmark", "a baseline", OURS, THEIRS, 2.0)
    distance = {
        "model": "m", "vector": "v", "ranges": 10, "measured": 6, "best": [1, 2], "found": [1, 3],
        "better_ranges": 1, "p_yes_below_best": 0.25,
    }  # fmt: skip
    growth = {
        "what": "concepts", "sizes": [1, 2], "seconds": [1.0, 2.0], "exponent_of_time": 1.0,
        "exponent_of_block_tokens": 0.9,
    }  # fmt: skip
    readme = tmp_path / "README.md"
    readme.write_text(f"# Before\n\n{run.BEGIN}\n| an old table |\n\n{run.END}\nAfter.\n")
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "README", readme)
    monkeypatch.setattr(run, "SUITES", {"sweep": lambda: [row]})
    monkeypatch.setattr(run.coarse, "distances", lambda: [distance])
    monkeypatch.setattr(run.growth, "run", lambda: [growth])
    assert CliRunner().invoke(run.main, []).exit_code == 0
    page, results = (tmp_path / "results.md").read_text(), json.loads((tmp_path / "results.json").read_text())
    for shown in ("a benchmark", "a baseline", "6 of 10", "[1, 3]", "0.25", "concepts", "0.90", "Not measured"):
        assert shown in page
    shown_first = readme.read_text()
    assert "| a benchmark | a baseline | 10 | 2 | 0.0e+00 |" in shown_first and "an old table" not in shown_first
    assert shown_first.startswith("# Before\n") and shown_first.endswith("\nAfter.\n")
    assert results["date"] in page and results["versions"]["torch"] in page and results["machine"]["cores"] >= 1
    measured = {"device": "H", "date": "d", "rows": [{"what": "sweep of ranges", "seconds": 50.0, "share": 0.75}]}
    (tmp_path / "h200.json").write_text(json.dumps(measured))
    assert CliRunner().invoke(run.main, []).exit_code == 0
    assert "| sweep of ranges | 50.0 | 75% |" in (tmp_path / "results.md").read_text()


def test_the_gpu_script_runs_at_a_small_shape() -> None:
    shape = h200.SMALL | {"num_hidden_layers": 4, "hidden_size": 32, "intermediate_size": 64}
    device = torch.device("cpu")
    results = h200.measure(shape, device, torch.float32)
    sweep, vectors, cells, swap = results["rows"]
    assert "6 ranges of 7" in sweep["what"]  # 4 blocks; a prompt of some 760 tokens
    assert "9 concepts" in vectors["what"] and "9 vectors" in cells["what"] and "swap" in swap["what"]
    assert all(row["seconds"] > 0 and 0 < row["share"] < 1 for row in results["rows"])


def test_the_gpu_script_says_when_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(h200.main, [])
    assert result.exit_code == 1 and "no GPU here" in result.output


def test_a_question_more_costs_a_fraction_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHMARKS_BY_PROCESSOR_TIME", "1")
    first, second, many = question.costs((1, 2, 12))
    assert [each.questions for each in (first, second, many)] == [1, 2, 12]
    assert second.block_tokens < 1.3 * first.block_tokens  # the second is read after the first one's turn 1
    assert many.block_tokens < 4 * first.block_tokens
    assert min(first.seconds, second.seconds, many.seconds) > 0
