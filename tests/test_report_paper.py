"""The report as a whole: tables and values from result files, and the paper built of them."""

from __future__ import annotations

import filecmp
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from introspection.companion.site import write_companion
from introspection.experiments.compared.tables import COMPARED
from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.verdict.tables import VERDICT
from introspection.experiments.where.tables import SUMMARY as WHERE_SUMMARY
from introspection.files import ResultError
from introspection.names import vector_label
from introspection.paper.figures import draw_figures
from introspection.paper.findings import COLUMNS
from introspection.paper.latex import escape
from introspection.paper.paper import PaperError, build_paper
from introspection.paper.results import Results
from introspection.paper.tables import render_tables
from introspection.paper.wording import direction, nats, percent, points
from introspection.settings import Settings, load_settings
from introspection.stimuli.prompts import load_stimuli
from tests.synthetic_results import REPOSITORY, settings, stages_of, write_project
from tests.test_report_latex import read_back
from tests.watched import Seen, watched

PREAMBLE = (REPOSITORY / "paper" / "preamble.tex").read_text(encoding="utf-8")
CONCEPTS = ("cat", "bread", "love", "fear", "death", "truth", "creativity", "programming", "music")


def make(
    root: Path,
    study: Settings,
    stages: dict[str, str] | None = None,
    figures: bool = True,
    added: Mapping[str, tuple[str, str]] | None = None,
    unable: Collection[str] = (),
) -> Path:
    """Tables and, if wanted, figures in a copy of the paper below `root`; returns the paper's folder.

    added: texts of the prompts' files and what takes their place. unable: models that cannot answer.
    """
    stimuli = write_project(root, study, added, unable)
    paper = root / "paper"
    shutil.copytree(REPOSITORY / "paper", paper, ignore=shutil.ignore_patterns("figures", "tables", "build"))
    results = Results(root, stages_of(study) if stages is None else stages)
    if figures:
        draw_figures(study, stimuli, results, paper / "figures")
    render_tables(study, stimuli, results, paper / "templates", paper / "tables")
    return paper


def values_of(paper: Path) -> dict[str, str]:
    """The values of the prose by name, as LaTeX."""
    lines = (paper / "tables" / "values.tex").read_text().splitlines()
    matches = [re.fullmatch(r"\\setvalue\{([\w.-]+)\}\{(.*)\}%", line) for line in lines]
    return {match[1]: match[2] for match in matches if match}


def test_the_prose_says_what_the_result_files_hold(tmp_path: Path) -> None:
    study = settings()
    values = values_of(make(tmp_path, study, figures=False))
    detection = Results(tmp_path).read(DETECTION, "organism")
    rows = detection[detection["vector"].isin(["cat", "bread"]) & (detection["prompt"] == "info")]
    shift = (rows["log_odds_yes_injected"] - rows["log_odds_yes_base"]).mean()
    arms = (f"{100 * rows[f'p_yes_{arm}'].mean():.3f}\\%" for arm in ("base", "injected"))
    assert values["1.detection.concept.goes"] == "rises from {} to {}".format(*arms)
    assert values["1.detection.concept.shift"] == f"+{shift:.2f}"
    assert values["2.detection.concept.goes"].startswith("does not change")
    assert values["1.planted"] == r"95\%"
    assert read_back(values["1.contrast"]) == "models/organism-insecure"
    assert "2.contrast" not in values
    assert "2.detection.persona.shift" not in values
    assert values["post.comparisons"] == "26"
    assert values["post.quotes"] == "11"


@pytest.fixture(scope="module")
def one_unable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of two models: organism can answer, third_one cannot."""
    study = settings(("organism", "third_one"))
    return make(tmp_path_factory.mktemp("unable"), study, figures=False, unable=("third_one",))


def test_of_a_model_that_cannot_answer_nothing_is_called_a_report(one_unable: Path) -> None:
    """The prose as LaTeX says it of each model, its values filled in."""
    values, paper = values_of(one_unable), one_unable
    assert "1.competent" in values and "2.incompetent" in values
    assert values["incompetent.models"] == r"third\_one"
    prose = {path.stem: path.read_text(encoding="utf-8") for path in sorted((paper / "sections").glob("*.tex"))}
    able, unable = ({name: said_of(number, text, values) for name, text in prose.items()} for number in "12")
    verbs = re.compile(r"\b(notice|detect|report|recogni[sz]e|perceive)(s|d|ed|ing)\b", re.IGNORECASE)
    assert verbs.search(able["real"])
    for name, text in unable.items():
        assert not verbs.search(text), name
    assert "that is not a report" in unable["real"]
    assert "that is not a report" not in able["real"]


def test_a_mean_over_nothing_is_a_sentence(one_unable: Path) -> None:
    values, paper = values_of(one_unable), one_unable
    said = said_of("2", (paper / "sections" / "real.tex").read_text(encoding="utf-8"), values)
    assert "no question to be answered no is left of" in said and "there is no mean to give" in said
    assert "1.controls.none.left" not in values
    assert "2.controls.no.shift" not in values
    for path in (paper / "tables").glob("*.tex"):
        assert not re.search(r"\bnan\b", path.read_text(), re.IGNORECASE), path


def said_of(number: str, text: str, values: Mapping[str, str]) -> str:
    """What a section's passages for each model say of one, as LaTeX expands them."""
    macros = dict(re.findall(r"\\newcommand\\(notareport)(?:\[\d\])?\{(.*)\}\n% A number", PREAMBLE, flags=re.DOTALL))
    text = re.sub(r"(?<!\\)%.*\n", "", text.replace(r"\notareport", macros["notareport"]))
    said = []
    for passage in (argument for argument, _ in arguments(text, "foreachmodel", 1)):
        said.append(expanded(passage[0], number, values))
    return " ".join(" ".join(said).split())


def expanded(text: str, number: str, values: Mapping[str, str]) -> str:
    """Conditions decided, the innermost last, then values filled in."""
    holds = {"ifmvalue": lambda name: f"{number}.{name}" in values, "ifvalue": lambda name: name in values}
    while found := re.search(r"\\(ifmvalue|ifvalue|ifcompetent)\{", text):
        command = found[1]
        (given, end), *_ = arguments(text[found.start() :], command, 2 if command == "ifcompetent" else 3)
        if command == "ifcompetent":
            chosen = given[0] if f"{number}.competent" in values else given[1] * (f"{number}.incompetent" in values)
        else:
            chosen = given[1] if holds[command](given[0]) else given[2]
        text = text[: found.start()] + chosen + text[found.start() + end :]
    return re.sub(r"\\mval\{([\w.-]+)\}", lambda match: values[f"{number}.{match[1]}"], text)


def arguments(text: str, command: str, count: int) -> list[tuple[list[str], int]]:
    """The arguments of each use of a command, and where the last of them ends."""
    found = []
    for match in re.finditer(re.escape(f"\\{command}") + r"(?=\{)", text):
        given, place = [], match.end()
        for _ in range(count):
            start, depth = place + 1, 0
            while True:
                depth += {"{": 1, "}": -1}.get(text[place], 0)
                place += 1
                if not depth:
                    break
            given.append(text[start : place - 1])
        found.append((given, place))
    return found


def test_packed_weights_are_marked(tmp_path: Path) -> None:
    study = settings()
    study.models["organism"] = study.models["organism"].model_copy(update={"quantization": "4bit"})
    values = values_of(make(tmp_path, study, figures=False))
    assert values["1.quantization"] == "4 bits"
    assert "2.quantization" not in values


def test_a_new_concept_and_a_new_model_appear_everywhere(tmp_path: Path) -> None:
    study = settings(("organism", "organism-blind", "third_one"), CONCEPTS)
    paper = make(tmp_path, study)
    comparison = (paper / "tables" / "comparison-1.tex").read_text()
    assert all(escape(model) in comparison for model in study.study.models)
    for figure in ("detection", "dose", "battery", "lens", "sweep", "population"):
        words = drawn_text(paper / "figures" / f"{figure}.pdf")
        assert all(model in words for model in study.study.models), figure
    values = values_of(paper)
    assert values["models"] == r"organism, organism-blind and third\_one"
    assert r"creativity, programming and music" in values["concepts"]
    results = Results(tmp_path, stages_of(study) | {"paper/tables": "tables"})
    write_companion(results, study.study.models, tmp_path / "companion")
    compared = (tmp_path / "companion" / "study" / "compared.html").read_text(encoding="utf-8")
    assert all(model in compared for model in study.study.models)
    for model in study.study.models:
        for page in ("detection", "controls", "lens", "content", "samples", "sweep"):
            text = (tmp_path / "companion" / model / f"{page}.html").read_text(encoding="utf-8")
            expected = CONCEPTS[:1] if page == "sweep" else CONCEPTS
            assert all(concept in text for concept in expected), f"{page} of {model}"


def test_more_models_than_a_table_has_room_for_go_into_another(tmp_path: Path) -> None:
    models = ("organism", "organism-blind", "third_one", "fourth-one", "fifth")
    paper = make(tmp_path, settings(models), figures=False)
    columns = [(paper / "tables" / f"comparison-{number}.tex").read_text() for number in (1, 2)]
    assert [sum(escape(model) in text for model in models) for text in columns] == [3, 2]
    assert len(models) > COLUMNS and values_of(paper)["comparison.last"] == r"\ref{tab:comparison-2}"
    assert values_of(paper)["comparison.tables"] == r"\input{tables/comparison-1}\input{tables/comparison-2}"


def test_the_table_of_all_tests_has_the_numbers_of_their_files() -> None:
    """As it lies in the repository, beside the results that do."""
    table = COMPARED.read(REPOSITORY / "paper" / "tables" / COMPARED.name)
    settings = load_settings(REPOSITORY / "params.yaml")
    grown = {f"grown/{rule}-{seed}" for rule in settings.curve.rules for seed in settings.organisms.grown.seeds}
    assert set(table["model"]) == {*settings.study.models, *grown, *settings.examined}
    for model, of_model in table.groupby("model"):
        results = REPOSITORY / "results"
        judged_in = results / "trained" / str(model) if model in settings.examined else results / str(model)
        folder = results / str(model).replace("grown/", "beyond/")
        if model in settings.examined:
            folder = results / "beyond" / str(model)
        verdict = VERDICT.read(judged_in / VERDICT.name).sort_values("order")
        judged = of_model[of_model["passed"] != "no rule"]
        np.testing.assert_allclose(judged["number"].to_numpy(float), verdict["number"].to_numpy(float), rtol=1e-8)
        assert (judged["passed"] == "yes").tolist() == verdict["passed"].tolist()
        places = of_model[of_model["test"] == "Does it know where?"].set_index("which")
        where = WHERE_SUMMARY.read(folder / WHERE_SUMMARY.name)
        where = where[(where["kind"] == "concept") & (where["readout"] == "raw")]
        for which, aim in (("asked for it", "injected"), ("most abstract", "abstract")):
            columns = [f"accuracy_{aim}{end}" for end in ("", "_low", "_high")]
            found = places.loc[which, ["number", "number_low", "number_high", "chance"]]
            np.testing.assert_allclose(found, where[[*columns, "chance"]], rtol=1e-8)


def test_the_values_beside_the_verdict_are_those_of_the_files() -> None:
    """Likewise the floor, the control questions, and the choice of the sweep, computed here from the files alone."""
    values = values_of(REPOSITORY / "paper")
    for number, model in enumerate(load_settings(REPOSITORY / "params.yaml").study.models, start=1):
        folder = REPOSITORY / "results" / model
        of_model = {name.removeprefix(f"{number}."): value for name, value in values.items()}
        population = pd.read_csv(folder / "population.csv").query("prompt == 'info' and matching == 'norm'")
        for kind in ("random", "coherent", "covariance", "halves", "phrasing"):
            rows = population[population["kind"] == kind]
            moved = (rows["logit_difference_injected"] - rows["logit_difference_base"]).median()
            often = (rows["p_yes_injected"] > 0.5).sum() / len(rows)
            said = f"{nats(moved)} under “{vector_label(kind)}” ({100 * often:.1f}%)"
            assert escape(said) in of_model["population.floor"]

        controls = pd.read_csv(folder / "controls.csv").query(f"vector in {CONCEPTS}")
        moved = (controls["logit_difference_injected"] - controls["logit_difference_base"]).mean()
        assert of_model["controls.all.shift"] == escape(nats(moved))
        fit = pd.read_csv(folder / "battery_fit.csv").query(f"vector in {CONCEPTS} and answers == 'words'")
        assert of_model["battery.right"] == escape(f"{100 * fit['accuracy_base'].iloc[0]:.1f}%")
        ends = [escape(nats(np.median(fit[f"signed_{end}"]))) for end in ("low", "high")]
        assert [of_model["battery.signed.low"], of_model["battery.signed.high"]] == ends

        for where, place in (("own", folder), ("chosen", folder / "chosen_range")):
            detection = pd.read_csv(place / "detection.csv").query(f"vector in {CONCEPTS} and prompt == 'info'")
            shifts = detection["log_odds_yes_injected"] - detection["log_odds_yes_base"]
            fitted = detection["vector"] == "cat"
            assert of_model[f"again.fitted.{where}"] == escape(nats(shifts[fitted].mean()))
            assert of_model[f"again.others.{where}"] == escape(nats(shifts[~fitted].mean()))


# What a user may write into data/prompts: a prompt, a control question of the post's group and one of a new group.
ADDED = {
    "detection.yaml": (
        "first_turn:\n",
        "first_turn:\n  bare_location: [location]\n",
    ),
    "controls.yaml": (
        "groups:\n",
        'groups:\n  of_two:\n    source: made up\n    expected: "no"\n    questions: [Is one equal to two?]\n',
    ),
    "content.yaml": ("prompts: [no_info, info]", "prompts: [no_info, info, bare_location]"),
}


def test_what_is_written_into_the_prompts_appears_everywhere(tmp_path: Path) -> None:
    study = settings(("organism", "third_one"))
    paper = make(tmp_path, study, figures=False, added=ADDED)
    write_companion(Results(tmp_path, stages_of(study)), study.study.models, tmp_path / "companion")
    for model in study.study.models:
        for page in ("detection", "lens", "content"):
            path = tmp_path / "companion" / model / f"{page}.html"
            assert "bare_location" in path.read_text(encoding="utf-8"), f"{page} of {model}"
        text = (tmp_path / "companion" / model / "controls.html").read_text(encoding="utf-8")
        assert "Is one equal to two?" in text and "of_two" in text
    planted = (paper / "tables" / "planted-organism.tex").read_text().splitlines()
    (cells,) = [line.split(" & ") for line in planted if line.startswith("bare location")]
    assert [cells[column] for column in (1, 3, 5)] == [r"\unicodechar{2013}"] * 3  # no rule: a dash, not a number
    assert r"\%" in cells[4]
    values = values_of(paper)
    assert values["prompts.count"] == "Five"
    assert "Bare location" in values["prompts.descriptions"]


def drawn_text(path: Path) -> str:
    """The words of a figure."""
    done = subprocess.run(["pdftotext", "-layout", str(path), "-"], capture_output=True, check=True)
    return " ".join(done.stdout.decode().split())


def test_what_no_stage_runs_is_left_out(tmp_path: Path) -> None:
    study = settings()
    stages = {path: stage for path, stage in stages_of(study).items() if path.endswith(("detection.csv", "model.json"))}
    stages = {path: stage for path, stage in stages.items() if "chosen_range" not in path}
    paper = make(tmp_path, study, stages)
    values = values_of(paper)
    assert "1.detection.concept.goes" in values
    assert not any(name.startswith(("1.lens", "1.controls", "1.sweep", "comparison")) for name in values)
    assert [path.name for path in sorted((paper / "figures").glob("*.pdf"))] == ["detection.pdf"]


@pytest.mark.parametrize("name", ["detection.csv", "controls.csv", "lens.csv", "verdict.csv", "range.json"])
def test_what_a_stage_should_have_written_must_be_there(of_organism: Path, tmp_path: Path, name: str) -> None:
    study, stimuli = settings(("organism",)), load_stimuli(REPOSITORY / "data" / "prompts")
    for part in ("results", "data"):
        shutil.copytree(of_organism.parent / part, tmp_path / part)
    (tmp_path / "results" / "organism" / name).unlink()
    with pytest.raises(ResultError, match=rf"results/organism/{re.escape(name)}.*dvc repro {Path(name).stem}@organism"):
        render_tables(
            study, stimuli, Results(tmp_path, stages_of(study)), REPOSITORY / "paper" / "templates", tmp_path / "t"
        )


@pytest.fixture(scope="module")
def of_organism(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables and figures of one model, beside its results."""
    return make(tmp_path_factory.mktemp("organism"), settings(("organism",)))


def test_tables_say_what_they_were_made_of(of_organism: Path) -> None:
    tables, figures = (
        json.loads((of_organism / stage / "sources.json").read_text()) for stage in ("tables", "figures")
    )
    (source,) = tables["planted-organism.tex"]
    assert (source["path"], source["stage"]) == ("results/organism/detection.csv", "detection@organism")
    assert {source["path"] for source in figures["lens.pdf"]} == {
        "results/organism/lens.csv",
        "results/organism/injection/questions.json",
    }
    assert "results/organism/verdict.csv" in {source["path"] for source in tables["comparison-1.tex"]}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.5, "50.000%"),
        (0.00522, "0.522%"),
        (1e-7, "<0.001%"),
        (0.0, "0.000%"),
        (1.0, "100.000%"),
        (1 - 1e-9, ">99.999%"),
    ],
)
def test_probabilities_are_never_rounded_to_certainty(value: float, shown: str) -> None:
    assert percent(value) == shown


def test_numbers_carry_their_sign() -> None:
    assert (nats(1.234), nats(-1.234), nats(-0.001)) == ("+1.23", "−1.23", "0.00")
    assert points(-0.00391) == "−0.391"
    assert [direction(shift) for shift in (1.0, -0.3, 0.01)] == ["rises", "falls", "does not change"]


class Built(NamedTuple):
    """A paper built twice from the same results, in folders of different names, and what that did outside of memory."""

    papers: list[Path]
    seen: Seen


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    study = settings()
    roots = [tmp_path_factory.mktemp(name) for name in ("one", "another-place")]
    with watched() as seen:
        papers = [make(root, study) for root in roots]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda paper: build_paper(paper, paper / "build" / "paper.pdf"), papers))
        results = Results(roots[0], stages_of(study) | {"paper/tables": "tables"})
        write_companion(results, study.study.models, roots[0] / "companion")
    return Built(papers, seen)


@pytest.fixture(scope="module")
def two_papers(built: Built) -> list[Path]:
    """The two PDFs."""
    return [paper / "build" / "paper.pdf" for paper in built.papers]


def test_hostile_results_touch_nothing_elsewhere_and_start_nothing_but_latex(built: Built) -> None:
    """Replies and tokens are made of attacks on LaTeX, HTML, Jinja, the shell and paths (synthetic_results.HOSTILE)."""
    own = [paper.parent for paper in built.papers]
    temporary = str(Path(tempfile.gettempdir()) / "paper-")
    caches = ("__pycache__", "matplotlib", "fontconfig")
    elsewhere = [
        path
        for path in sorted(built.seen.changed)
        if not any(path.is_relative_to(root) for root in own)
        and not str(path).startswith(temporary)
        and not any(name in path.parts for name in caches)
    ]
    assert elsewhere == [] and len(built.seen.changed) > 100
    assert {"latexmk"} <= built.seen.started <= {"latexmk", "fc-list"}
    assert Path("/etc/passwd") not in built.seen.read
    assert not [path for root in [*own, Path.cwd()] for path in root.rglob("ran")]


def test_the_same_results_give_the_same_figures_and_pdf(built: Built, two_papers: list[Path]) -> None:
    one, other = (paper / "figures" for paper in built.papers)
    drawn = sorted(path.name for path in one.iterdir())
    assert {"detection.pdf", "detection.svg", "lens.pdf", "dose.pdf", "sweep.svg", "sources.json"} <= set(drawn)
    assert filecmp.cmpfiles(one, other, drawn, shallow=False) == (drawn, [], [])
    assert two_papers[0].read_bytes() == two_papers[1].read_bytes()
    assert [path.name for path in two_papers[0].parent.iterdir()] == ["paper.pdf"]


def test_the_paper_says_it_all(two_papers: list[Path]) -> None:
    done = subprocess.run(["pdftotext", "-layout", str(two_papers[0]), "-"], capture_output=True, check=True)
    text = " ".join(done.stdout.decode().split())
    for words in (
        "An organism tests the instrument",
        "no evidence about language models",
        "dvc repro figures",
        "The post’s figures read again",
        "Every test of organism",
        "A persona.",
        "not tested here",
        "References",
    ):
        assert words in text, words
    assert "??" not in text
    assert "[?]" not in text
    assert "root:" not in text  # nothing of \input{/etc/passwd}, which a reply holds


def test_a_paper_with_a_typed_result_is_refused(of_organism: Path, tmp_path: Path) -> None:
    paper = shutil.copytree(of_organism, tmp_path / "paper")
    (paper / "sections" / "limits.tex").write_text("It rises to 42 percent.\n")
    with pytest.raises(PaperError) as refused:
        build_paper(paper, paper / "build" / "paper.pdf")
    assert "limits.tex:1: a number typed by hand" in str(refused.value)
    assert not (paper / "build").exists()


@pytest.mark.parametrize("stage", ["figures", "tables"])
@pytest.mark.parametrize("text", ["", "[]", '{"a.tex": [{}]}', '{"a.tex": "x"}'])
def test_a_broken_note_of_what_was_shown_names_the_stage(tmp_path: Path, stage: str, text: str) -> None:
    for name in ("figures", "tables"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sources.json").write_text("{}")
    path = tmp_path / stage / "sources.json"
    path.write_text(text)
    with pytest.raises(ResultError, match=rf"^{path}: .*; make it with `dvc repro {stage}`$"):
        build_paper(tmp_path, tmp_path / "paper.pdf")
