"""Which stage writes which file, hashes as dvc.lock has them, and result files that are missing or broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from introspection import experiments
from introspection.experiments.battery.tables import BATTERY, FIT, PHRASINGS
from introspection.experiments.competence.tables import COMPETENCE
from introspection.experiments.content.tables import BOOSTED, CONTENT
from introspection.experiments.controls.tables import CONTROLS, STATISTICS
from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.lens.tables import LENS
from introspection.experiments.samples.tables import SAMPLES
from introspection.experiments.suffixes.tables import ASKED, AUDIT, INTERVALS
from introspection.experiments.sweep.tables import SWEEP
from introspection.files import ResultError
from introspection.paper.checks import (
    check_claims,
    check_prose,
    typed_numbers,
    unguarded_claims,
    unshown,
    unused_values,
)
from introspection.paper.pipeline import hash_of, output_stages
from introspection.paper.reports import report_functions
from introspection.paper.results import Results
from introspection.tables import Column, Table, csv_text, probability
from tests.synthetic_results import HOSTILE, REPOSITORY, settings, write_csv, write_project

TABLES = (
    DETECTION,
    CONTROLS,
    COMPETENCE,
    BATTERY,
    FIT,
    PHRASINGS,
    STATISTICS,
    LENS,
    CONTENT,
    BOOSTED,
    SAMPLES,
    SWEEP,
    ASKED,
    AUDIT,
    INTERVALS,
)
PIPELINE = """
stages:
  detection:
    foreach: ${study.models}
    do:
      cmd: x
      outs: ["results/${item}/detection.csv": {cache: false}]
  download:
    foreach: {a: {file: a.json}, b: {file: b.csv}}
    do:
      cmd: x
      outs: ["raw/${item.file}"]
      metrics: ["m/${key}.json"]
  published:
    cmd: x
    outs: [results/published]
"""


def test_each_output_has_its_stage() -> None:
    pipeline = YAML(typ="safe").load(PIPELINE)
    assert output_stages(pipeline, {"study.models": ["x", "y"]}) == {
        "results/x/detection.csv": "detection@x",
        "results/y/detection.csv": "detection@y",
        "raw/a.json": "download@a",
        "raw/b.csv": "download@b",
        "m/a.json": "download@a",
        "m/b.json": "download@b",
        "results/published": "published",
    }


def test_a_file_in_an_output_folder_belongs_to_its_stage(tmp_path: Path) -> None:
    results = Results(tmp_path, {"results/published": "published"})
    assert results.stage("results/published/shifts.csv") == "published"
    assert results.expects("results/published/shifts.csv")
    assert not results.expects("results/other/shifts.csv")


def test_the_repository_says_which_stage_writes_every_result() -> None:
    pipeline = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())
    stages = output_stages(pipeline, {"study.models": ["organism"]})
    for table in TABLES:
        assert f"results/organism/{table.name}" in stages


def test_hashes_are_those_of_dvc(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    for name, text in {"b.txt": "b\r\n", "a.txt": "a\n", "sub/c.txt": "c", "sub-a.txt": "d"}.items():
        (folder / name).write_bytes(text.encode())
    (tmp_path / "single").write_text("one\n")

    def dvc(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", "-q", *arguments], cwd=tmp_path, check=True, capture_output=True)

    dvc("init", "--no-scm")
    dvc("add", "out", "single")
    for name in ("out", "single"):
        recorded = YAML(typ="safe").load((tmp_path / f"{name}.dvc").read_text())["outs"][0]["md5"]
        assert hash_of(tmp_path / name) == recorded


def test_a_missing_result_names_the_file_and_the_stage(tmp_path: Path) -> None:
    results = Results(tmp_path, {"results/m/lens.csv": "lens@m"})
    with pytest.raises(ResultError, match=r"results/m/lens\.csv: .*dvc repro lens@m"):
        results.read(LENS, "m")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vector,prompt\n", "no column 'strength'"),
        ("vector,prompt,strength,first_layer,last_layer,p_yes,log_odds_yes\na,b,1\n", "'p_yes'.*is empty"),
        ("vector,prompt,strength,first_layer,last_layer,p_yes,log_odds_yes\na,b,1,2,3,half,0\n", "'p_yes'.*half"),
        ("", "no CSV table"),
    ],
)
def test_a_broken_result_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "results" / "m" / "sweep.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ResultError, match=rf"results/m/sweep\.csv: .*{message}"):
        Results(tmp_path).read(SWEEP, "m")


@hypothesis_settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_any_token_is_read_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, tokens: list[str]) -> None:
    root = tmp_path_factory.mktemp("tokens")
    columns = (
        Column("rank", "integer", "its place"),
        Column("token", "text", "a token"),
        probability("p", "its chance"),
    )
    declared = Table("t.csv", "Tokens.", ("rank",), columns)
    written = pd.DataFrame({"rank": range(len(tokens)), "token": tokens, "p": 0.5})
    (root / "t.csv").write_text(csv_text(written), encoding="utf-8", newline="")
    table = Results(root).table(declared, "t.csv")
    assert list(table["token"]) == tokens
    assert (table["p"] == 0.5).all()


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    study = settings()
    write_project(tmp_path, study)
    boosted = Results(tmp_path).read(BOOSTED, "organism")
    assert HOSTILE[1] in set(boosted["token"])
    assert any("\ufffd" in token for token in boosted["token"])  # lone surrogates are no UTF-8


def test_typed_results_are_found() -> None:
    found = typed_numbers(
        "The shift is 0.5 nats.\n\\val{a.1} and \\fixed{2}, Table~\\ref{tab:3}, float32\nup by 7\\%\n"
    )
    assert [line for line, _ in found] == [1, 3]


def test_what_is_no_result_may_be_typed() -> None:
    prose = r"""
Qwen2.5-Coder-32B \citep{hui2024} \includegraphics[width=0.5\textwidth]{figures/x-1.pdf} % 50 times
\begin{longtable}{@{}lp{0.6\textwidth}rr@{}} \cmidrule(lr){3-5} \multicolumn{2}{c}{x} << row.p_1 >>
"""
    assert typed_numbers(prose) == []
    assert typed_numbers(r"rises to 95\% % really") != []


def test_the_paper_has_no_typed_result() -> None:
    paper = REPOSITORY / "paper"
    prose = [paper / "paper.tex", *paper.glob("sections/*.tex"), *paper.glob("templates/*.j2")]
    assert len(prose) > 20
    assert check_prose(prose) == []


def test_a_verb_of_noticing_is_for_models_that_can_answer() -> None:
    text = (
        "The post reports it.\n\\foreachmodel{\\ifcompetent{It notices {a}.}{No report.}\n"
        "It Detects it.\\mval{x}}\nWhat reports?\n"
    )
    assert unguarded_claims(text) == [(3, "Detects")]
    assert [word for _, word in unguarded_claims(text, of_models=True)] == ["reports", "Detects", "reports"]


def test_the_paper_says_of_no_model_that_it_notices_unless_it_can_answer() -> None:
    paper = REPOSITORY / "paper"
    assert check_claims([*paper.glob("sections/*.tex"), *paper.glob("templates/*.j2")]) == []


def test_what_nothing_shows_is_found() -> None:
    assert unshown([Path("figures/a.pdf"), Path("tables/b.tex")], [Path("figures/a.pdf")]) == [
        "paper/tables/b.tex: made, and shown nowhere in the paper"
    ]


def test_values_that_nothing_uses_are_found(tmp_path: Path) -> None:
    names = ("used", "asked", "2.of.models", "2.in.template", "1.by.number", "idle", "2.idle")
    (tmp_path / "values.tex").write_text("".join(f"\\setvalue{{{name}}}{{x}}%\n" for name in names))
    (tmp_path / "prose.tex").write_text(
        r"\val{used} \ifvalue{asked}{a}{b} \foreachmodel{\mval{of.models}} \val{<< model.number >>.in.template}"
        r"\val{1.by.number} idle \setvalue{idle}{y}"
    )
    assert unused_values(tmp_path / "values.tex", [tmp_path / "prose.tex"]) == [
        f"paper/{tmp_path.name}/values.tex: nothing uses the value 'idle'",
        f"paper/{tmp_path.name}/values.tex: nothing uses the value '2.idle'",
    ]


def test_a_truth_is_read_as_it_was_written(tmp_path: Path) -> None:
    declared = Table("t.csv", "Truths.", ("n",), (Column("n", "integer", ""), Column("so", "truth", "")))
    (tmp_path / "t.csv").write_text("n,so\n1,True\n2,False\n")
    assert list(declared.read(tmp_path / "t.csv")["so"]) == [True, False]
    (tmp_path / "t.csv").write_text("n,so\n1,perhaps\n")
    with pytest.raises(ResultError, match=r"t\.csv: column 'so'.*is no truth"):
        declared.read(tmp_path / "t.csv")


def test_the_synthetic_results_have_the_documented_formats(tmp_path: Path) -> None:
    study = settings()
    write_project(tmp_path, study)
    for model in study.study.models:
        for table in TABLES:
            assert len(Results(tmp_path).read(table, model)) > 0
    write_csv(tmp_path / "one.csv", [{"a": 1}])
    assert (tmp_path / "one.csv").read_text() == "a\n1\n"


def test_an_experiment_is_in_the_report_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a report is found, one without is none, and its functions are called as they stand."""
    for name, text in {"zz_new": "def tables(renderer, settings, model):\n    return {}\n", "zz_bare": None}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        if text:
            (tmp_path / name / "report.py").write_text(text)
    monkeypatch.setattr(experiments, "__path__", [*experiments.__path__, str(tmp_path)])
    found = [function.__module__.split(".")[2] for function in report_functions("tables")]
    assert {"detection", "controls", "lens", "sweep", "chosen_range", "instrument"} < set(found)
    assert "zz_new" in found
    assert "zz_bare" not in found
