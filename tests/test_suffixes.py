"""Other suffixes and another sign, against repeng on the same strings, examples made by hand, and the two-phase run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from introspection.experiments.subject import PlannedSubject
from introspection.experiments.suffixes import measure as suffixes_measure
from introspection.experiments.suffixes.audit import sign_audit
from introspection.experiments.suffixes.intervals import suffix_intervals
from introspection.experiments.suffixes.report import audit_values, interval_values
from introspection.experiments.suffixes.resampling import bootstrap, bootstrap_kinds, halves, is_bootstrap, other_sign
from introspection.experiments.suffixes.tables import ASKED, AUDIT, INTERVALS
from introspection.injection.vectors import concept_vectors, principal_directions
from introspection.intervals import percentile_interval
from introspection.settings import ModelSettings, SettingsError, SignRule, load_settings
from introspection.sources.datasets import read_suffixes
from introspection.stimuli.prompts import Stimuli
from introspection.tables import csv_text
from tests.conftest import ROOT
from tests.reference import trained_by_repeng, two_phase_logits
from tests.small_models import load

SUFFIXES = read_suffixes(ROOT / "data" / "builtin" / "suffixes.json")[:58]  # halves of an odd number: no sign is a tie
LAYERS, STRENGTH = (1, 3), 4.0


def subject_of(folder: Path, stimuli: Stimuli, sign: SignRule = "majority", **changes: Any) -> PlannedSubject:
    settings = load_settings(ROOT / "params.yaml")
    model = ModelSettings(source=str(folder), dtype="float32", layers=LAYERS, strength=STRENGTH, filler="original")
    few = {"resamples": 3, "prompts": ("info",)} | changes
    settings = settings.model_copy(
        update={
            "models": {"tiny": model},
            "study": settings.study.model_copy(update={"concepts": ("cat", "bread"), "sign": sign}),
            "suffixes": settings.suffixes.model_copy(update=few),
        }
    )
    return PlannedSubject("tiny", settings, model, stimuli, folder, load(folder), SUFFIXES)


@pytest.fixture(scope="module")
def subject(folders: dict[str, Path], stimuli: Stimuli) -> PlannedSubject:
    return subject_of(folders["qwen2"], stimuli)


@pytest.fixture(scope="module")
def measured(subject: PlannedSubject) -> dict[str, Any]:
    return dict(suffixes_measure.measure(subject))


def subsets(subject: PlannedSubject) -> dict[str, list[str]]:
    settings = subject.settings.suffixes
    places = halves(58, settings.seed) | bootstrap(58, settings.resamples, settings.seed)
    return {kind: [SUFFIXES[place] for place in at] for kind, at in places.items()}


@given(st.integers(2, 600), st.integers(0, 1000))
def test_halves_are_the_whole_and_resamples_as_large(count: int, seed: int) -> None:
    one, two = halves(count, seed).values()
    assert sorted(one + two) == list(range(count))
    assert 0 <= len(two) - len(one) <= 1
    assert list(halves(count, seed)) == ["half_1", "half_2"]
    drawn = bootstrap(count, 4, seed)
    assert list(drawn) == ["bootstrap_1", "bootstrap_2", "bootstrap_3", "bootstrap_4"] == bootstrap_kinds(4)
    assert all(map(is_bootstrap, drawn)) and not any(map(is_bootstrap, ["half_1", "mean_sign", "BOOTSTRAP_1"]))
    for places in (one, two, *drawn.values()):
        assert places == sorted(places) and set(places) <= set(range(count)) and type(places[0]) is int
    assert {len(places) for places in drawn.values()} == {count}


def test_the_kind_of_the_other_sign_is_named_for_its_rule() -> None:
    assert (other_sign("majority"), other_sign("mean")) == ("mean_sign", "majority_sign")


def test_the_seed_decides_which_suffixes_are_drawn() -> None:
    for draw in (halves, lambda count, seed: bootstrap(count, 2, seed)):
        assert draw(100, 5) == draw(100, 5) != draw(100, 6)
    assert len(set(map(tuple, bootstrap(100, 5, 0).values()))) == 5


def test_vectors_of_halves_and_resamples_are_repengs_on_the_same_suffixes(
    subject: PlannedSubject, stimuli: Stimuli
) -> None:
    _, directions = suffixes_measure.made_of_suffixes(subject)
    for kind, suffixes in subsets(subject).items():
        theirs = trained_by_repeng(subject.model, stimuli, "bread", suffixes).directions
        ours = directions[f"bread/{kind}"]
        assert set(ours) == set(range(1, 5) if kind.startswith("half") else range(1, 4))
        for block, direction in ours.items():
            assert np.dot(direction, theirs[block]) > 0.999, (kind, block)


def pairs_of(differences: list[tuple[float, float]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Sides of a contrast with two blocks: after block 1 pairs differ by these, the other states by (1, 0)."""
    negative = torch.ones(len(differences), 3, 2)
    positive = negative + torch.tensor([1.0, 0.0])
    positive[:, 2] = negative[:, 2] + torch.tensor(differences)
    return positive, negative


# Five pairs a little to the right, three far to the left: most lie on one side and the mean on the other.
PARTED = [(1.0, 0.1), (1.0, -0.1), (1.0, 0.1), (1.0, -0.1), (1.0, 0.0), (-4.0, 0.1), (-4.0, -0.1), (-4.0, 0.0)]
RIGHT, ALSO = {1: np.array([1, 0], np.float32)}, {1: np.array([0.6, 0.8], np.float32)}


def test_the_audit_of_an_example_made_by_hand() -> None:
    (row,) = sign_audit(*pairs_of(PARTED), "majority", (RIGHT, ALSO)).to_dict("records")
    assert (row["block"], row["pairs"], row["positive_share"], row["rules_agree"]) == (1, 8, 5 / 8, False)
    assert row["explained_share"] == pytest.approx(53 / 53.06)
    assert row["cosine_mean"] == pytest.approx(-1)
    assert row["cosine_halves"] == pytest.approx(0.6)
    (row,) = sign_audit(*pairs_of(PARTED), "mean", (RIGHT, ALSO)).to_dict("records")
    assert (row["positive_share"], row["rules_agree"]) == (3 / 8, False)
    assert row["cosine_mean"] == pytest.approx(1)
    nearer = [(x / 4 if x < 0 else x, y) for x, y in PARTED]
    (row,) = sign_audit(*pairs_of(nearer), "majority", (RIGHT, RIGHT)).to_dict("records")
    assert (row["positive_share"], row["rules_agree"], row["cosine_halves"]) == (5 / 8, True, 1)
    (row,) = sign_audit(*pairs_of([(1, 0), (1, 0), (-1, 0), (0, 0)]), "mean", (RIGHT, RIGHT)).to_dict("records")
    assert row["positive_share"] == 1 / 2, "a pair that lies across is on neither side"


def test_the_mean_rule_turns_the_directions_where_the_audit_says_so(stimuli: Stimuli) -> None:
    positive, negative = (torch.cat([side, side[:, 1:2]], dim=1) for side in pairs_of(PARTED))  # a block more
    majority, mean = (principal_directions(positive, negative, (1, 2), rule) for rule in ("majority", "mean"))
    assert np.allclose(majority[1], [1, 0]) and np.array_equal(mean[1], -majority[1])
    assert np.array_equal(mean[2], majority[2])
    subject = subject_of(ROOT / "models" / "organism", stimuli)  # at whose early blocks the rules part
    audit, directions = suffixes_measure.made_of_suffixes(subject)
    agree = audit.set_index(["vector", "block"])["rules_agree"]
    study = dict(concept_vectors(subject.model, subject.stimuli, subject.concepts, SUFFIXES))
    for concept in subject.concepts:
        for block, direction in directions[f"{concept}/mean_sign"].items():
            same = study[concept].directions[block]
            assert np.array_equal(direction, same if agree[concept, block] else -same)
    injected = agree[agree.index.get_level_values("block") <= LAYERS[1]]
    assert 0 < injected.sum() < len(injected), "both cases are there"


def test_where_the_study_follows_the_mean_the_other_rule_is_the_majority(stimuli: Stimuli) -> None:
    subject = subject_of(ROOT / "models" / "organism", stimuli, "mean")
    audit, directions = suffixes_measure.made_of_suffixes(subject)
    asked = {injection.vector for each in suffixes_measure.askings(subject) for injection in each.injections}
    assert asked == set(directions) and {"cat/majority_sign", "bread/majority_sign"} < asked
    study = dict(concept_vectors(subject.model, stimuli, ["cat"], SUFFIXES))["cat"].directions
    assert all(np.array_equal(found, study[block]) for block, found in directions["cat/majority_sign"].items())
    assert (audit["cosine_mean"] > 0).all() and (audit["positive_share"] < 0.5).any()
    halves_of_mean = concept_vectors(subject.model, stimuli, ["cat"], subsets(subject)["half_1"], sign="mean")
    for block, direction in dict(halves_of_mean)["cat"].directions.items():
        assert np.dot(directions["cat/half_1"][block], direction) > 0.9999


def test_the_audit_is_of_the_vectors_that_the_study_injects(subject: PlannedSubject, measured: dict[str, Any]) -> None:
    audit = AUDIT.check(measured[AUDIT.name].rows)
    assert list(audit["vector"]) == ["cat"] * 4 + ["bread"] * 4 and list(audit["block"]) == [1, 2, 3, 4] * 2
    assert set(audit["pairs"]) == {58}
    parts = subsets(subject)
    sides = [
        dict(concept_vectors(subject.model, subject.stimuli, ["cat"], parts[half]))["cat"].directions
        for half in ("half_1", "half_2")
    ]
    for row in audit[audit["vector"] == "cat"].to_dict("records"):
        one, two = (side[row["block"]] for side in sides)
        assert row["cosine_halves"] == pytest.approx(float(np.dot(one, two)), abs=1e-4)


@pytest.mark.parametrize(
    ("vector", "kind", "prompt"),
    [("cat", "half_2", "lorem_ipsum"), ("bread", "bootstrap_3", "info"), ("bread", "mean_sign", "no_info")],
)
def test_an_answer_is_that_of_the_two_phase_procedure(
    subject: PlannedSubject, measured: dict[str, Any], vector: str, kind: str, prompt: str
) -> None:
    table = measured[ASKED.name].rows
    (row,) = table[(table["vector"] == vector) & (table["kind"] == kind) & (table["prompt"] == prompt)].to_dict(
        "records"
    )
    assert (row["strength"], row["first_layer"], row["last_layer"]) == (STRENGTH, *LAYERS)
    suffixes, sign = subsets(subject).get(kind, SUFFIXES), "mean" if kind == "mean_sign" else "majority"
    ((_, made),) = concept_vectors(subject.model, subject.stimuli, [vector], suffixes, sign=sign)
    conversation, yes = subject.stimuli.detection[prompt], subject.model.token(subject.stimuli.yes)
    for arm, injected in (("base", None), ("injected", made)):
        logits = two_phase_logits(subject.model, conversation, injected, STRENGTH, LAYERS).double()
        others = torch.cat([logits[:yes], logits[yes + 1 :]])
        assert row[f"log_odds_yes_{arm}"] == pytest.approx(float(logits[yes] - others.logsumexp(0)), rel=2e-5)
    assert abs(row["log_odds_yes_injected"] - row["log_odds_yes_base"]) > 1e-3, "the injection does something"


def test_halves_are_asked_every_prompt_and_resamples_those_of_the_settings(
    subject: PlannedSubject, measured: dict[str, Any]
) -> None:
    table = ASKED.check(measured[ASKED.name].rows)
    asked = table.groupby(["vector", "kind"], sort=False)["prompt"].agg(list)
    prompts = list(subject.stimuli.detection)
    expected = dict.fromkeys(("half_1", "half_2", "mean_sign"), prompts)
    expected |= {f"bootstrap_{number}": ["info"] for number in (1, 2, 3)}
    assert asked.to_dict() == {(name, kind): at for name in ("cat", "bread") for kind, at in expected.items()}
    assert list(dict.fromkeys(table["vector"])) == ["cat", "bread"]


def test_a_second_run_gives_the_same_bytes(subject: PlannedSubject, measured: dict[str, Any]) -> None:
    for name, again in suffixes_measure.measure(subject).items():
        assert csv_text(again.rows) == csv_text(measured[name].rows)


def test_a_prompt_that_is_not_there_is_named(folders: dict[str, Path], stimuli: Stimuli) -> None:
    subject = subject_of(folders["qwen2"], stimuli, prompts=("info", "information"))
    with pytest.raises(SettingsError, match=r"suffixes\.prompts: found 'information'; allowed: no_info, info"):
        suffixes_measure.trials(subject)


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=30), st.floats(0.05, 0.99))
def test_an_interval_is_cut_off_at_both_ends(values: list[float], confidence: float) -> None:
    def by_hand(share: float) -> float:
        ordered, place = sorted(values), share * (len(values) - 1)
        below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
        return below + (above - below) * (place - math.floor(place))

    low, high = percentile_interval(values, confidence)
    assert low == pytest.approx(by_hand((1 - confidence) / 2), abs=1e-9)
    assert high == pytest.approx(by_hand((1 + confidence) / 2), abs=1e-9)


def asked_of(shifts: dict[str, float], prompt: str = "info", vector: str = "cat") -> pd.DataFrame:
    """Answers whose log-odds go from -6 by these shifts, by kind."""
    dose = {"strength": STRENGTH, "first_layer": LAYERS[0], "last_layer": LAYERS[1]}
    rows = [
        {"vector": vector, "kind": kind, "prompt": prompt, **dose}
        | {"log_odds_yes_base": -6.0, "log_odds_yes_injected": -6.0 + shift}
        for kind, shift in shifts.items()
    ]
    return pd.DataFrame(rows)


HALVES_ONLY = {"half_1": 2.0, "half_2": 0.5, "mean_sign": -1.0}


def test_the_intervals_are_those_of_each_concept_and_prompt() -> None:
    resampled = {f"bootstrap_{number}": float(number**2) for number in range(1, 12)}
    asked = pd.concat([asked_of(HALVES_ONLY, "no_info"), asked_of(HALVES_ONLY | resampled)], ignore_index=True)
    detection = pd.concat([asked_of({"study": 1.0}), asked_of({"study": 0.25}, "no_info")]).drop(columns="kind")
    table = suffix_intervals(asked, detection, 0.9, "mean_sign")
    no_info, info = INTERVALS.check(table).to_dict("records")
    low, high = np.percentile(list(resampled.values()), [5, 95])
    assert (info["shift_low"], info["shift_high"], info["resamples"]) == (pytest.approx(low), pytest.approx(high), 11)
    assert (info["shift"], info["shift_half_1"], info["shift_half_2"]) == (1.0, 2.0, 0.5)
    assert (info["halves_difference"], info["shift_other_sign"], info["unit"]) == (1.5, -1.0, "suffixes")
    assert (no_info["shift"], no_info["resamples"]) == (0.25, 0)
    assert math.isnan(no_info["shift_low"]) and math.isnan(no_info["shift_high"])


def test_a_study_that_was_injected_otherwise_is_refused() -> None:
    detection = asked_of({"study": 1.0}).drop(columns="kind")
    for wrong in (detection.assign(strength=5.0), detection.assign(prompt="no_info")):
        with pytest.raises(ValueError, match="cat under info was injected otherwise"):
            suffix_intervals(asked_of(HALVES_ONLY), wrong, 0.9, "mean_sign")


def test_the_prose_names_the_widest_interval_and_counts_the_halves_that_part() -> None:
    resampled = {"bootstrap_1": -1.0, "bootstrap_2": 1.0}
    asked = pd.concat(
        [
            asked_of(HALVES_ONLY | resampled),
            asked_of({"half_1": -3.0, "half_2": 1.0, "mean_sign": 0.0}, vector="bread"),
            asked_of({"half_1": 0.01, "half_2": -0.01, "mean_sign": 0.0}, "no_info", "bread"),
        ],
        ignore_index=True,
    )
    detection = asked[asked["kind"] == "mean_sign"].drop(columns="kind")
    values = interval_values(suffix_intervals(asked, detection, 0.9, "mean_sign"))
    assert values["suffixes.wide"] == "cat"
    assert values["suffixes.wide.interval"] == "[−0.90, +0.90]"
    assert (values["suffixes.turned"], values["suffixes.cells"]) == ("1", "3"), "a hundredth of a nat is no change"


def test_the_prose_counts_the_directions_whose_rules_part() -> None:
    audit = pd.DataFrame(
        [
            {"vector": vector, "block": block, "rules_agree": block not in parted}
            for vector, parted in {"cat": (), "bread": (2,), "love": (1, 4)}.items()
            for block in range(1, 5)
        ]
    )
    assert audit_values(audit, (2, 3)) == {
        "signs.directions": "12",
        "signs.parted": "3",
        "signs.own.directions": "6",
        "signs.own.parted": "1",
    }
