"""The curve over a training: a state is asked as a model is, and the states are those that training went through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from introspection import names
from introspection.experiments.curve.report import figures_of_all, values_of_all
from introspection.experiments.curve.state import asked_prompts, state_rows
from introspection.experiments.curve.tables import CURVE
from introspection.experiments.reader.tables import SUMMARY as READERS
from introspection.experiments.subject import Subject
from introspection.experiments.which.measure import choices, order_rows
from introspection.experiments.zoo.opened import open_organism
from introspection.injection.vectors import load_vector
from introspection.paper.figure_style import Look
from introspection.paper.gallery import Gallery
from introspection.paper.prompts import Prompts
from introspection.paper.render import Renderer
from introspection.paper.results import Results
from introspection.settings import SettingsError, load_settings
from introspection.settings.planted import PlantedSettings
from introspection.stimuli.prompts import load_stimuli
from tests.conftest import ROOT
from tests.reference import two_phase_logits
from tests.small_study import edited
from tests.test_report_paper import drawn_text

RULE = PlantedSettings(
    p_yes={"nothing": {"info": 0.1, "no_info": 0.2}, "concept": 0.9, "centred": 0.8}
    | dict.fromkeys(("shared", "random", "coherent"), 0.5),
    leaning=None,
    names=None,
    answer_mass=1.0,
)
SUFFIXES = ["I", "Well, I", "It is", "Yes, and then"]


@pytest.fixture(scope="module")
def measured(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, pd.DataFrame]:
    """A small model as a state of some training, and what it answers."""
    root = tmp_path_factory.mktemp("curve")
    (root / "data").symlink_to(ROOT / "data")
    settings = load_settings(ROOT / "params.yaml")
    study = settings.study.model_copy(update={"concepts": ("cat", "bread"), "random_directions": 1})
    curve = settings.curve.model_copy(update={"prompts": ("info", "no_info"), "suffixes": 4, "resamples": 50})
    where = settings.where.model_copy(update={"resamples": 20, "permutations": 20})
    injection = settings.organisms.zoo.injection.model_copy(update={"layers": (1, 2), "strength": 4.0})
    grown = settings.organisms.grown.model_copy(update={"injection": injection})
    few = settings.model_copy(
        update={
            "study": study,
            "curve": curve,
            "where": where,
            "organisms": settings.organisms.model_copy(update={"grown": grown}),
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        folder = root / "build" / "state"
        subject = open_organism(few, "grown", "state", folders["qwen2"], Path("data/prompts"), SUFFIXES, folder)
        return subject, state_rows(subject, RULE)


def test_every_test_is_asked_of_every_state(measured: tuple[Subject, pd.DataFrame]) -> None:
    _, rows = measured
    table = CURVE.check(rows.assign(step=0)[[column.name for column in CURVE.columns]])
    assert set(table["test"]) == {"detection", "controls", "where", "which"}
    detection = table[table["test"] == "detection"]
    assert set(detection["injected"]) == {"none", "concept", "centred", "shared", "random", "coherent"}
    wanted = detection.set_index(["asked", "injected"])["wanted"]
    assert wanted["info", "none"] == 0.1 and wanted["no_info", "none"] == 0.2 and wanted["info", "centred"] == 0.8
    one = table[table["units"] == 1]
    assert one["low"].isna().all() and not table.drop(one.index)["low"].isna().any()
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"]))[table["units"] > 1].all()
    assert table.groupby("test")["wanted"].unique()["where"].tolist() == [0.5, 0.1]


def test_detection_is_the_two_phase_procedure(measured: tuple[Subject, pd.DataFrame]) -> None:
    subject, rows = measured
    model, asked, dose = subject.model, subject.stimuli.detection["info"], subject.questions
    said = []
    for concept in subject.concepts:
        vector = load_vector(subject.folder / "vectors" / names.file_name(concept))
        logits = two_phase_logits(model, asked, vector, dose.strength, dose.layers)
        said.append(float(logits.softmax(-1)[model.token(subject.stimuli.yes)]))
    found = rows.set_index(["test", "asked", "injected"])["value"]
    assert found["detection", "info", "concept"] == pytest.approx(np.mean(said), abs=1e-5)


def test_the_choice_from_a_list_is_the_likeliest_number(measured: tuple[Subject, pd.DataFrame]) -> None:
    subject, rows = measured
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(subject.folder.parents[1])
        said, _ = choices(subject)
    orders = order_rows(subject).set_index(["order", "number"])["option"]
    likeliest = said.filter(regex=r"^p_\d$").to_numpy().argmax(axis=1)
    named = orders.loc[list(zip(said["order"], likeliest, strict=True))].to_numpy()
    shares = said.assign(right=named == said["injected"]).groupby(["prompt", "list", "question"])["right"].mean()
    found = rows[rows["test"] == "which"].set_index("asked")["value"]
    assert found.to_dict() == pytest.approx({", ".join(arm): share for arm, share in shares.items()})


def test_a_list_is_asked_under_the_prompts_of_the_curve(measured: tuple[Subject, pd.DataFrame]) -> None:
    subject, _ = measured
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(subject.folder.parents[1])
        (every, _), (some, _) = choices(subject), choices(subject, ["info"])
    expected = every[every["prompt"] == "info"].reset_index(drop=True)
    assert 0 < len(some) < len(every)
    pd.testing.assert_frame_equal(some.reset_index(drop=True), expected, rtol=0, atol=1e-5)


def test_a_prompt_that_is_not_there_is_refused(measured: tuple[Subject, pd.DataFrame]) -> None:
    subject, _ = measured
    asked = subject.settings.curve.model_copy(update={"prompts": ("info", "unheard_of")})
    with pytest.raises(ValueError, match=r"curve\.prompts names .unheard_of.; data/prompts/detection"):
        asked_prompts(asked, subject.stimuli)


def test_a_curve_of_no_rule_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    with edited(tmp_path / "params.yaml") as values:
        values["curve"]["rules"] = ["unheard_of"]
    with pytest.raises(SettingsError, match=r"curve\.rules names 'unheard_of'; allowed, keys of"):
        load_settings(tmp_path / "params.yaml")


def curve_of(values: dict[tuple[int, str, str, str], tuple[float, float]]) -> pd.DataFrame:
    """A curve with these values and what they are held against, by step, test, what was asked and injected."""
    return pd.DataFrame(
        [
            {
                "step": step,
                "test": test,
                "asked": asked,
                "injected": injected,
                "value": value,
                "low": max(0.0, value - 0.1),
                "high": min(1.0, value + 0.1),
                "units": 4,
                "wanted": wanted,
            }
            for (step, test, asked, injected), (value, wanted) in values.items()
        ]
    )


def test_the_paper_says_what_training_installed_and_what_it_left(tmp_path: Path) -> None:
    settings = load_settings(ROOT / "params.yaml")
    study = settings.model_copy(update={"curve": settings.curve.model_copy(update={"rules": ("notices",)})})
    values = {}
    for step, yes in ((0, 0.5), (20, 0.7), (80, 0.9)):
        values |= {
            (step, "detection", "info", "none"): (1 - yes, 0.03),
            (step, "detection", "info", "concept"): (yes, 0.97),
            (step, "controls", "controls", "none"): (yes - 0.1, 0.5),
            (step, "controls", "controls", "concept"): (yes - 0.2, 0.5),
            (step, "where", "half", "concept"): (0.55, 0.5),
            (step, "which", "info, turn_2, injected", "concept"): (yes - 0.5, 0.1),
        }
    path = f"results/curves/notices-{settings.organisms.grown.seeds[0]}/{CURVE.name}"
    CURVE.write(curve_of(values), tmp_path / path)
    readers = f"results/beyond/{Path(path).parent.name}/{READERS.name}"
    results = Results(tmp_path, {path: "curve-grown@notices-1", readers: "beyond-grown@notices-1"})
    (tmp_path / readers).parent.mkdir(parents=True)
    (tmp_path / readers).write_bytes((ROOT / "results" / "organism" / READERS.name).read_bytes())
    found = READERS.read(tmp_path / readers)
    few = found[(found["task"] == "detection") & (found["examples"] == "few")]
    best = few.loc[few["reader_accuracy"].idxmax()]
    stimuli = load_stimuli(ROOT / "data" / "prompts")
    renderer = Renderer(results, stimuli, ROOT / "paper" / "templates", tmp_path / "tables")
    said = values_of_all(renderer, study)["curve.passage"].replace(r"\%", "%").replace(r"\_", "_")
    assert said.startswith("After 80 steps “notices” says yes with 10.0% under nothing (3% planted) and 90.0% under")
    assert "80.0% of the control questions right (before training 40.0%), and 70.0% under concepts" in said
    assert "of two such choices the share of right ones is above chance, with its interval, in one:" in said
    assert "which (info, turn_2, injected) 40.0%, before 0.0%, chance 10.0%. Its own yes" in said
    assert f"from nothing in {100 * best['model_accuracy']:.1f}% of trials" in said
    assert f"on few examples in {100 * best['reader_accuracy']:.1f}%;" in said
    gallery = Gallery(results, Look(study.figures, Prompts.of(stimuli)), tmp_path / "figures")
    with gallery.look.style():
        figures_of_all(gallery, study)
    words = drawn_text(tmp_path / "figures" / "curve.pdf")
    assert "notices" in words and "where?" in words and "half" in words
    assert gallery.sources["curve.pdf"][0].path == path


def test_without_a_curve_the_paper_says_nothing_of_one(tmp_path: Path) -> None:
    settings = load_settings(ROOT / "params.yaml")
    stimuli = load_stimuli(ROOT / "data" / "prompts")
    renderer = Renderer(Results(tmp_path), stimuli, ROOT / "paper" / "templates", tmp_path / "tables")
    assert values_of_all(renderer, settings) == {}
