"""The verdict: tables made up for each hypothesis fall into its class, and the rule is what the hash says it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from introspection.experiments.verdict.evidence import TESTS, Tables
from introspection.experiments.verdict.objections import REGISTERED, load_objections
from introspection.experiments.verdict.summary import rule_hash
from introspection.files import ResultError
from introspection.settings import Settings, load_settings
from introspection.settings.sections import VerdictTest
from tests.conftest import ROOT

CONCEPTS = ("cat", "bread", "love", "fear")
KINDS = ("random", "coherent", "covariance", "halves")


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(ROOT / "params.yaml")


def made_up(
    *,
    can_answer: bool = True,
    unasked: float = 0.01,
    text: float = 0.0,
    concept: float = 5.0,
    centred: float = 4.0,
    shared: float = 4.0,
    controls: float = 0.2,
    residual: float = 4.0,
    auc_low: float = 0.95,
    named: bool = True,
) -> Tables:
    """What would be measured on a model that passes every test but for what is said otherwise; shifts in nats."""
    keys = {"prompt": "info", "sentence": "of {concept}"}
    written = [
        {**keys, "vector": vector, "written": "none", "p_yes_base": 0.1, "p_yes_injected": 0.9}
        | {"logit_difference_base": -6.0, "logit_difference_injected": -6.0 + concept}
        for vector in CONCEPTS
    ]
    written += [
        {**keys, "vector": vector, "written": vector, "p_yes_base": 0.1, "p_yes_injected": 0.9}
        | {"logit_difference_base": -6.0 + text, "logit_difference_injected": -6.0 + text + concept}
        for vector in CONCEPTS
    ]
    shifts = {"concept": concept, "centred": centred}
    spread = np.linspace(-0.1, 0.1, 9)
    population = [
        {"prompt": "info", "kind": kind, "matching": "norm"}
        | {"logit_difference_base": -6.0, "logit_difference_injected": -6.0 + shift + each}
        for kind, shift in shifts.items()
        for each in spread
    ]
    population.append(
        {"prompt": "info", "kind": "shared", "matching": "norm"}
        | {"logit_difference_base": -6.0, "logit_difference_injected": -6.0 + shared}
    )
    summary = [
        {"prompt": "info", "kind": kind, "matching": matching, "auc": 0.99, "auc_low": auc_low, "auc_high": 1.0}
        for kind in KINDS
        for matching in ("norm", "effect")
    ]
    fit = [
        {"vector": vector, "prompt": "info", "answers": "words", "control_shift": controls, "detection_shift": concept}
        | {"residual": residual, "residual_low": residual - 0.5, "residual_high": residual + 0.5}
        for vector in CONCEPTS
    ]
    content = [
        {"vector": vector, "prompt": "info", "token": token, "layer": 8}
        | {"p_injected": 0.9 if (token == vector) == named else 0.01 + 0.001 * place}
        for vector in CONCEPTS
        for place, token in enumerate(CONCEPTS)
    ]
    return Tables(
        prompt="info",
        can_answer=can_answer,
        accuracy=1.0 if can_answer else 0.5,
        detection=pd.DataFrame({"prompt": ["info"], "p_yes_base": [unasked]}),
        written=pd.DataFrame(written),
        population=pd.DataFrame(population),
        population_summary=pd.DataFrame(summary),
        battery_fit=pd.DataFrame(fit),
        content=pd.DataFrame(content),
    )


HYPOTHESES = {
    "notices": made_up(),
    "garbage": made_up(can_answer=False),
    "suggestible": made_up(unasked=0.97),
    "reads": made_up(text=6.0, concept=0.0, centred=0.0, shared=0.0, residual=0.0),
    "blind": made_up(concept=0.0, centred=0.0, shared=0.0, residual=0.0, auc_low=0.4),
    "leans": made_up(controls=5.0, residual=0.0, auc_low=0.4),
    "disturbed": made_up(auc_low=0.4),
    "shared": made_up(centred=0.1),
    "specific": made_up(shared=0.1),
    "confabulates": made_up(named=False),
}


@pytest.mark.parametrize("organism", HYPOTHESES)
def test_each_hypothesis_fails_the_test_that_is_named_for_it(organism: str, settings: Settings) -> None:
    objections, tables = load_objections(ROOT / "data" / "objections.yaml"), HYPOTHESES[organism]
    failed = [name for name in settings.verdict.order if not TESTS[name](tables, settings.verdict).passed]
    expected = objections.zoo[organism]
    assert failed[:1] == ([] if expected == "passes" else [expected])


def test_the_zoo_has_a_class_for_every_rule(settings: Settings) -> None:
    objections = load_objections(ROOT / "data" / "objections.yaml")
    assert {*settings.organisms.zoo.rules, *settings.organisms.grown.rules} <= set(objections.zoo) == set(HYPOTHESES)
    assert len({objections.class_of(test) for test in objections.zoo.values()}) == len(objections.zoo)


def test_intervals_hold_their_number_and_are_the_same_twice(settings: Settings) -> None:
    for name, test in TESTS.items():
        first, second = (test(made_up(), settings.verdict) for _ in range(2))
        assert (first.low, first.high) == (second.low, second.high) or np.isnan(first.low), name
        assert np.isnan(first.low) or first.low <= first.number <= first.high, name


def test_a_median_and_its_interval_by_brute_force(settings: Settings) -> None:
    shifts = np.linspace(-0.1, 0.1, 9) + 5.0
    found = TESTS["moved"](made_up(), settings.verdict)
    drawn = np.random.default_rng(7).choice(shifts, (20000, 9)).copy()
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    assert found.number == pytest.approx(5.0)
    assert (found.low, found.high) == (pytest.approx(low, abs=0.03), pytest.approx(high, abs=0.03))


def test_the_registered_rule_is_the_rule(settings: Settings) -> None:
    """A changed threshold is another rule: whoever changes one registers it anew, with what had been seen by then."""
    registered = json.loads((ROOT / REGISTERED).read_text(encoding="utf-8"))
    assert registered["sha256"] == rule_hash(settings)
    verdict = settings.verdict.model_copy(update={"auc_at_least": 0.6})
    assert rule_hash(settings.model_copy(update={"verdict": verdict})) != registered["sha256"]
    competence = settings.competence.model_copy(update={"accuracy_at_least": 0.7})
    assert rule_hash(settings.model_copy(update={"competence": competence})) != registered["sha256"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("  naming:\n", "  nameing:\n", "naming|nameing"), ("blind: moved", "blind: moves", "zoo: found 'moves'")],
)
def test_objections_that_do_not_fit_the_tests_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "objections.yaml"
    shutil.copyfile(ROOT / "data" / "objections.yaml", path)
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ResultError, match=message):
        load_objections(path)


def test_every_test_can_be_named_and_no_other() -> None:
    assert {*get_args(VerdictTest)} == {*TESTS}
