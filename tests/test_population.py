"""The population: who is in it, equal effect, what sums it up, and a cell against the study's own procedure."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from introspection.engine.trial import Injection, Trial
from introspection.experiments.population import measure as measuring
from introspection.experiments.population.concepts import Population, load_population, spread
from introspection.experiments.population.effect import Matched, match_effect
from introspection.experiments.population.statistics import auc, auc_interval, permutation_p_value, summary
from introspection.experiments.population.tables import POPULATION, SUMMARY
from introspection.experiments.population.vectors import load_directions, save_directions, trained_directions
from introspection.experiments.subject import PlannedSubject
from introspection.injection import cells as cells_module
from introspection.injection import divergence as divergence_module
from introspection.injection.divergence import divergences
from introspection.injection.repengs import ControlVector
from introspection.injection.vectors import concept_vectors, random_vectors
from introspection.model.language_model import LanguageModel
from introspection.organism.corpus import load_corpus
from introspection.settings import EffectSettings, ModelSettings, PopulationSettings, load_settings
from introspection.steering import Edit, steered
from introspection.stimuli.prompts import Stimuli, StimuliError
from introspection.tables import csv_text
from tests.conftest import ROOT
from tests.reference import two_phase_logits
from tests.small_models import load

SETTINGS = load_settings(ROOT / "params.yaml")
SUFFIXES = ["", "I think", "Well,", "So", "It is", "There"]
EFFECT = EffectSettings(directions=2, passages=2, strongest=8.0, steps=12, tolerance=0.02)
FEW = PopulationSettings(
    concepts=None,
    kinds=None,
    prompts=("no_info", "info"), directions=2, suffixes=4, seed=3, effect=EFFECT, resamples=50, permutations=50,
    confidence=0.9,
)  # fmt: skip
LAYERS = (1, 3)


def test_no_organism_was_trained_on_an_injection_of_the_population() -> None:
    population, corpus = load_population(ROOT / "data" / "concepts.yaml"), load_corpus(ROOT / "data" / "organism")
    concepts = population.concepts
    assert len(concepts) >= 50 and len(population.categories) >= 6
    injected = {word.casefold() for group in corpus.injectable(SETTINGS.organisms.held_out) for word in group}
    assert not injected & {concept.casefold() for concept in concepts}
    known = {*corpus.concepts, *(word for words in corpus.concepts.values() for word in words)}
    assert set(population.unheard) == set(concepts) - known
    assert set(SETTINGS.organisms.held_out) <= set(concepts)
    assert all(concept.isalpha() for concept in concepts)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"categories": {"a": ["cat"], "b": ["cat"]}}, "listed twice"),
        ({"categories": {"a": ["cat", "shared_cat"]}}, "name of the study itself"),
        ({"unheard": ["dog"]}, "unheard names 'dog'"),
        ({"phrasing": ["Talk."]}, "phrasing"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    content = {"source": "x", "categories": {"a": ["cat"]}, "unheard": [], "phrasings": ["Talk."], **changes}
    (tmp_path / "concepts.yaml").write_text(json.dumps(content))
    with pytest.raises(StimuliError, match=complaint):
        load_population(tmp_path / "concepts.yaml")


@given(st.lists(st.integers(), unique=True, max_size=40), st.integers(1, 50))
def test_a_spread_takes_as_many_as_asked_in_order(values: list[int], count: int) -> None:
    chosen = spread(values, count)
    assert len(chosen) == min(count, len(values))
    places = [values.index(each) for each in chosen]
    steps = np.diff(places)
    assert (steps > 0).all() and (len(steps) == 0 or steps.max() - steps.min() <= 1)


def test_of_the_population_those_kinds_are_asked_that_are_named() -> None:
    everyone = measuring.members(few, 2)
    asked = measuring.members(few, 2, ["centred", "halves", "concept"])
    assert list(asked) == ["concept", "halves", "centred"] and all(asked[kind] == everyone[kind] for kind in asked)


few = Population(
    source="x", categories={"a": ("cat", "bread"), "b": ("truth",)}, unheard=(), phrasings=("Please talk.", "Speak.")
)


@pytest.fixture(scope="module")
def trained(qwen2: LanguageModel, stimuli: Stimuli) -> dict[str, Any]:
    return dict(trained_directions(qwen2, stimuli, few, SUFFIXES, 2, seed=3, tokens_per_batch=500))


def test_the_populations_concepts_are_trained_as_the_studys(
    qwen2: LanguageModel, stimuli: Stimuli, trained: dict[str, Any], tmp_path: Path
) -> None:
    for name, vector in concept_vectors(qwen2, stimuli, few.concepts, SUFFIXES):
        for block in range(1, 5):
            np.testing.assert_allclose(trained[name][block], vector.directions[block], atol=1e-4)
    drawn = [f"{kind}_{number}" for kind in ("covariance", "halves", "phrasing") for number in (1, 2)]
    assert list(trained) == [*few.concepts, *drawn]
    for vector in trained.values():
        assert [np.linalg.norm(vector[block]) for block in range(1, 5)] == pytest.approx([1] * 4, abs=1e-5)
    save_directions(trained, tmp_path / "deep" / "tiny.safetensors")
    found = load_directions(tmp_path / "deep" / "tiny.safetensors")
    assert set(found) == set(trained)
    for name, block in ((name, block) for name in trained for block in range(1, 5)):
        np.testing.assert_array_equal(found[name][block], trained[name][block])
    assert 0 not in found["cat"]


def test_phrasings_are_contrasts_of_two_requests(
    qwen2: LanguageModel, stimuli: Stimuli, trained: dict[str, Any]
) -> None:
    """Each is what the study's recipe makes of two of the three requests, either way."""
    from introspection.injection.vectors import contrast, last_token_states, request_trials

    states = [
        last_token_states(qwen2, request_trials(qwen2.tokenizer, each, SUFFIXES)) for each in few.requests(stimuli)
    ]
    pairs = [contrast(qwen2, states[i], states[j]).directions for i, j in combinations(range(3), 2)]
    best = []
    for name in ("phrasing_1", "phrasing_2"):
        cosines = [abs(float(trained[name][2] @ pair[2])) for pair in pairs]
        assert max(cosines) == pytest.approx(1, abs=1e-4)
        best.append(int(np.argmax(cosines)))
    assert len(set(best)) == 2  # no pair twice


# --- equal effect


@given(st.lists(st.floats(0.01, 5), min_size=1, max_size=6), st.floats(0.1, 2), st.floats(0.5, 30), st.floats(1.0, 4.0))
def test_the_search_finds_the_strength_of_a_power_law(
    scales: list[float], target: float, strength: float, power: float
) -> None:
    injections = [Injection(f"random_{number}", strength, 1, 2) for number in range(len(scales))]
    runs: list[int] = []

    def effects(asked: Sequence[Injection]) -> list[float]:
        runs.append(len(asked))
        return [scales[int(each.vector[7:])] * (each.strength / strength) ** power for each in asked]

    found = match_effect(effects, list(zip(injections, effects(injections), strict=True)), target, EFFECT)
    assert runs == sorted(runs, reverse=True) and len(runs) <= 4  # a secant of logarithms is exact after two points
    for scale, each in zip(scales, found, strict=True):
        exact = strength * (target / scale) ** (1 / power)
        assert each.effect == pytest.approx(scale * (each.injection.strength / strength) ** power)
        if each.reached:
            assert each.effect == pytest.approx(target, rel=EFFECT.tolerance * 1.001)
        else:
            assert not strength / 7.9 < exact < strength * 7.9
        if exact > 8.2 * strength:
            assert each.injection.strength == 8 * strength


@given(st.floats(0.05, 20), st.floats(0.02, 0.9), st.floats(0.5, 3), st.floats(-0.3, 0.3))
def test_the_search_finds_the_strength_of_an_effect_that_saturates(
    half: float, target: float, power: float, wave: float
) -> None:
    """Effects as they are measured: quadratic or so, then flat, and with a ripple that makes them fall at times."""

    def effect(strength: float) -> float:
        x = (strength / half) ** power
        return x / (1 + x) * (1 + wave * np.sin(3 * np.log(strength)))

    def effects(asked: Sequence[Injection]) -> list[float]:
        return [effect(each.strength) for each in asked]

    start = Injection("random_1", 1.0, 1, 2)
    [found] = match_effect(effects, [(start, effect(1.0))], target, EFFECT)
    assert found.effect == pytest.approx(effect(found.injection.strength))
    assert 1 / 8 <= found.injection.strength <= 8
    if found.reached:
        assert found.effect == pytest.approx(target, rel=EFFECT.tolerance * 1.001)
    elif wave == 0:  # it rises all the way, so it is not reached where an end of the range is not far enough
        assert not effect(1 / 8) * 1.001 < target < effect(8) * 0.999


def searched(offs: Sequence[float], strongest: float = 1024.0, steps: int = 20) -> tuple[list[float], Matched]:
    """What is tried after a strength of 3, in octaves of it, where each effect is so many octaves off its target."""
    script, tried = iter(offs), list[float]()

    def effects(asked: Sequence[Injection]) -> list[float]:
        tried.extend(math.log2(each.strength / 3) for each in asked)
        return [2.0 ** next(script) for _ in asked]

    settings = EFFECT.model_copy(update={"strongest": strongest, "steps": steps})
    [found] = match_effect(effects, [(Injection("random_1", 3.0, 1, 2), 2.0 ** next(script))], 1.0, settings)
    return tried, found


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("offs", "tried"),
    [
        ([-2, 0], [1]),  # a square law first
        ([-2, -1, 0], [1, 2]),  # then the secant
        ([-1, -1, -1, 0], [1 / 2, 5 / 2, 9 / 2]),  # what does not grow is taken to grow with the root
        ([-2, 1, 0], [1, 2 / 3]),  # between two that enclose it
        ([-2, -1, 2, 0], [1, 2, 4 / 3]),
        ([-2, -1, 2, -1, 0], [1, 2, 4 / 3, 14 / 9]),
        ([-2, -1, 2, -1, -1, 0], [1, 2, 4 / 3, 14 / 9, 16 / 9]),  # an end that stays counts half
        ([-2, -1, 2, -1, -1, 2, 0], [1, 2, 4 / 3, 14 / 9, 16 / 9, 44 / 27]),
        ([-2, -1, 2, -1, -1, 2, 2, 0], [1, 2, 4 / 3, 14 / 9, 16 / 9, 44 / 27, 212 / 135]),
    ],
)
def test_each_step_of_the_search_by_hand(offs: list[float], tried: list[float], sign: int) -> None:
    found_by, found = searched([sign * off for off in offs])
    assert found_by == pytest.approx([sign * each for each in tried])
    assert found.reached and math.log2(found.injection.strength / 3) == pytest.approx(sign * tried[-1])


def test_the_search_ends_at_the_ends_of_its_range() -> None:
    tried, found = searched([-9, -9], strongest=8.0)
    assert tried == [3.0] and found.injection.strength == 24.0 and not found.reached  # of equals the last
    tried, found = searched([9, 8], strongest=8.0)
    assert tried == [-3.0] and found.injection.strength == 3 / 8 and found.effect == 256.0


def test_the_search_ends_with_its_steps_and_keeps_the_nearest() -> None:
    tried, found = searched([-2, -0.5, 2, -1, -1, 2], steps=3)
    assert len(tried) == 3 and not found.reached
    assert math.log2(found.injection.strength / 3) == pytest.approx(1.0) and found.effect == 2**-0.5


@pytest.mark.parametrize(("effect", "reached"), [(1.125, True), (0.875, True), (1.1250001, False), (0.8749999, False)])
def test_an_effect_within_the_tolerance_is_as_large_as_asked(effect: float, reached: bool) -> None:
    settings = EFFECT.model_copy(update={"tolerance": 0.125, "steps": 1})
    start, calls = Injection("random_1", 1.0, 1, 2), list[int]()

    def effects(asked: Sequence[Injection]) -> list[float]:
        calls.append(len(asked))
        return [9.0] * len(asked)

    [found] = match_effect(effects, [(start, effect)], 1.0, settings)
    assert (found.reached, found.effect, calls) == (reached, effect, [] if reached else [1])


def test_an_effect_of_nothing_is_left_unreached() -> None:
    start = Injection("random_1", 1.0, 1, 2)
    [found] = match_effect(lambda asked: [0.0] * len(asked), [(start, 0.0)], 0.5, EFFECT)
    assert not found.reached and found.effect == 0
    [found] = match_effect(lambda asked: [0.3] * len(asked), [(start, 0.3)], 0.0, EFFECT)
    assert not found.reached and found.effect == 0.3


def test_equal_effect_is_equal_divergence_computed_directly(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    vectors = {name: vector.directions for name, vector in random_vectors(qwen2, 3, seed=3)}
    passages = stimuli.neutral()[:2]
    injections = [Injection(name, 4.0, *LAYERS) for name in vectors]

    def effects(asked: Sequence[Injection]) -> list[float]:
        return divergences(qwen2, passages, asked, vectors)

    target = effects([Injection("random_1", 5.0, *LAYERS)])[0]
    found = match_effect(effects, list(zip(injections, effects(injections), strict=True)), target, EFFECT)
    assert [each.reached for each in found] == [True] * 3
    for each in found:
        edits = {
            block: Edit(
                additions=torch.as_tensor(each.injection.strength * vectors[each.injection.vector][block])[None]
            )
            for block in range(LAYERS[0], LAYERS[1] + 1)
        }
        by_hand = []
        for text in passages:
            ids = torch.tensor([qwen2.tokenizer(text)["input_ids"]])
            with torch.inference_mode():
                plain = qwen2.model(ids).logits[0, -1].double().softmax(-1)
                with steered(qwen2.blocks, edits):
                    moved = qwen2.model(ids).logits[0, -1].double().softmax(-1)
            by_hand.append(float((moved * (moved / plain).log()).sum()))
        assert sum(by_hand) / 2 == pytest.approx(target, rel=EFFECT.tolerance * 1.05)
    assert found[0].injection.strength == pytest.approx(5.0, rel=0.05)
    assert len({each.injection.strength for each in found}) == 3


# --- what sums it up

samples = st.lists(st.integers(-5, 5), min_size=1, max_size=12).map(lambda values: np.array(values, dtype=float))


@given(samples, samples)
def test_auc_is_a_count_of_pairs(concepts: np.ndarray, others: np.ndarray) -> None:
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in concepts for b in others]
    assert auc(concepts, others) == pytest.approx(sum(pairs) / len(pairs))
    assert auc(concepts, others) + auc(others, concepts) == pytest.approx(1)


def test_the_interval_is_that_of_resampled_directions() -> None:
    generator = np.random.default_rng(2)
    concepts, others = generator.normal(1, 1, 20), generator.normal(0, 1, 30)
    low, high = auc_interval(concepts, others, 4000, 0.9, np.random.default_rng(1))
    again = [auc(generator.choice(concepts, 20), generator.choice(others, 30)) for _ in range(4000)]
    assert (low, high) == pytest.approx(tuple(np.quantile(again, [0.05, 0.95])), abs=0.012)
    assert auc_interval(concepts + 100, others, 50, 0.9, generator) == pytest.approx((1, 1))


def test_what_is_observed_is_one_of_the_permutations() -> None:
    apart = np.arange(30.0)
    assert permutation_p_value(apart + 100, apart, 199, np.random.default_rng(0)) == 1 / 200
    assert permutation_p_value(apart, apart, 199, np.random.default_rng(0)) == 1.0


def test_the_p_value_is_that_of_all_permutations() -> None:
    concepts, others = np.array([1.0, 4.0, 5.0]), np.array([0.0, 1.0, 2.0, 3.0, -1.0])
    both = np.concatenate([concepts, others])
    far = abs(auc(concepts, others) - 0.5)
    choices = [
        abs(auc(both[list(chosen)], np.delete(both, list(chosen))) - 0.5) >= far - 1e-9
        for chosen in combinations(range(8), 3)
    ]
    exact = sum(choices) / len(choices)
    found = permutation_p_value(concepts, others, 20000, np.random.default_rng(1))
    assert found == pytest.approx(exact, abs=0.012)


def made_up(shifts: dict[str, list[float]], unreached: Sequence[str] = ()) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "kind": kind,
            "vector": f"{kind}_{number}",
            "matching": "effect",
            "prompt": "info",
            "strength": 2.0,
            "kl": 1.0,
            "cosine": 0.1,
            "reached": f"{kind}_{number}" not in unreached,
            "p_yes_base": 0.5,
            "p_yes_injected": 0.25,
            "logit_difference_base": -1.0,
            "logit_difference_injected": shift - 1.0,
        }
        for kind, all_of_kind in shifts.items()
        for number, shift in enumerate(all_of_kind, start=1)
    )


def test_a_summary_counts_and_leaves_out_what_was_not_reached() -> None:
    table = made_up(
        {"concept": [1, 2, 3], "random": [0, 9, 0.5], "shared": [2.5], "halves": [4.0]}, ["random_2", "halves_1"]
    )
    found = summary(table, FEW).set_index("kind")
    SUMMARY.check(found.reset_index()[[column.name for column in SUMMARY.columns]])
    assert found["shift"]["concept"] == 2 and found["shift"]["random"] == 0.25
    assert found["auc"]["random"] == 1 and found["auc"]["shared"] == pytest.approx(1 / 3)
    assert list(found["unreached"]) == [0, 1, 0, 1] and list(found["directions"]) == [3, 2, 1, 0]
    assert np.isnan(found.loc["halves", ["shift", "auc", "p_value"]].to_numpy(float)).all()
    assert np.isnan(found["auc_low"]["shared"]) and not np.isnan(found["p_value"]["shared"])
    assert np.isnan(found["auc"]["concept"])
    assert found["auc_low"]["random"] == found["auc_high"]["random"] == 1  # two are enough for an interval
    assert {"kind", *found.columns} == {column.name for column in SUMMARY.columns}


def test_a_summary_has_the_order_of_its_table() -> None:
    table = made_up({"random": [0, 1], "concept": [2, 3]})
    parts = [table.assign(prompt=prompt, matching=matching) for prompt in "za" for matching in ("norm", "effect")]
    found = summary(pd.concat(parts), FEW)
    assert list(zip(found["prompt"], found["matching"], strict=True))[::2] == [
        ("z", "norm"),
        ("z", "effect"),
        ("a", "norm"),
        ("a", "effect"),
    ]
    assert found["kind"].tolist() == ["random", "concept"] * 4


def test_a_summary_is_the_same_each_time_and_each_kind_alone() -> None:
    generator = np.random.default_rng(3)
    shifts = {kind: list(generator.normal(size=9)) for kind in ("concept", "random", "coherent")}
    one, two = (csv_text(summary(made_up(shifts), FEW)) for _ in range(2))
    assert one == two
    alone = csv_text(summary(made_up({kind: shifts[kind] for kind in ("concept", "coherent")}), FEW))
    assert alone.splitlines()[-1] == one.splitlines()[-1]


# --- the measurement


def subject_of(folder: Path, stimuli: Stimuli) -> PlannedSubject:
    own = ModelSettings(source=str(folder), dtype="float32", layers=LAYERS, strength=4.0, filler="original")
    settings = SETTINGS.model_copy(update={"models": {"tiny": own}, "population": FEW})
    return PlannedSubject("tiny", settings, own, stimuli, folder, load(folder))


def test_a_measured_population_is_the_two_phase_procedure(
    folders: dict[str, Path],
    stimuli: Stimuli,
    trained: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject = subject_of(folders["qwen2"], stimuli)
    save_directions(trained, tmp_path / "tiny.safetensors")
    monkeypatch.setattr(measuring, "VECTORS", tmp_path)
    monkeypatch.setattr(measuring, "load_population", lambda: few)
    ran: list[list[Trial]] = []
    run = divergence_module.run_trials

    def recorded(model: LanguageModel, trials: Sequence[Trial], *args: Any, **named: Any) -> torch.Tensor:
        ran.append(list(trials))
        return run(model, trials, *args, **named)

    monkeypatch.setattr(divergence_module, "run_trials", recorded)
    monkeypatch.setattr(cells_module, "run_trials", recorded)
    planned = [run.trials for run in measuring.trials(subject)]
    table = POPULATION.check(measuring.measure(subject)[POPULATION.name].rows)

    # what was planned is what ran, but for strengths, and for steps after all had the effect
    def unscaled(trials: Sequence[Trial]) -> list[Trial]:
        return [
            replace(each, injections=tuple(replace(arm, strength=1.0) for arm in each.injections)) for each in trials
        ]

    assert unscaled(planned[0]) == unscaled(ran[0]) and unscaled(planned[-1]) == unscaled(ran[-1])
    steps = ran[1:-1]
    assert {*unscaled(steps[0])} <= {*unscaled(planned[1])} and len(steps) <= len(planned) - 2
    assert all(len(step) <= len(planned[1]) for step in steps)

    at_norm = table[table["matching"] == "norm"]
    assert (at_norm["strength"] == 4.0).all() and at_norm["reached"].all()
    everyone = measuring.members(few, 2)
    assert list(dict.fromkeys(at_norm["vector"])) == [name for of_kind in everyone.values() for name in of_kind]
    assert len(at_norm) == 2 * (3 + 5 * 2 + 1 + 3 + 3)
    target = at_norm[at_norm["kind"] == "concept"].groupby("vector")["kl"].first().median()
    reached = table[(table["matching"] == "effect") & table["reached"]]
    assert len(reached) > 4 and (reached["kl"] / target - 1).abs().max() <= EFFECT.tolerance
    means = at_norm.groupby("kind")["cosine"].mean()
    assert means["centred"] == pytest.approx(0, abs=1e-5) and means["shared"] == pytest.approx(1, abs=1e-5)
    assert means["negated"] == pytest.approx(-means["concept"])

    directions, _ = measuring.population_directions(subject.model, few, trained, 2, FEW.seed)
    tokens = [subject.model.token(answer) for answer in (stimuli.yes, stimuli.no)]
    chosen = [("centred_bread", "norm", "info"), ("phrasing_2", "effect", "no_info"), ("shared", "norm", "no_info")]
    for vector, matching, prompt in chosen:
        (row,) = table[
            (table["vector"] == vector) & (table["matching"] == matching) & (table["prompt"] == prompt)
        ].to_dict("records")
        conversation = stimuli.detection[prompt]
        made = ControlVector("qwen2", directions[vector])
        for arm, logits in (
            ("injected", two_phase_logits(subject.model, conversation, made, row["strength"], LAYERS)),
            ("base", two_phase_logits(subject.model, conversation, None)),
        ):
            yes, no = logits.softmax(-1)[tokens].tolist()
            assert row[f"p_yes_{arm}"] == pytest.approx(yes, rel=1e-3)
            assert row[f"p_no_{arm}"] == pytest.approx(no, rel=1e-3)
            assert row[f"answer_mass_{arm}"] == pytest.approx(yes + no, rel=1e-3)
            assert row[f"logit_difference_{arm}"] == pytest.approx(
                float(logits[tokens[0]] - logits[tokens[1]]), abs=1e-3
            )


def test_a_prompt_that_is_not_there_is_named(folders: dict[str, Path], stimuli: Stimuli) -> None:
    subject = subject_of(folders["qwen2"], stimuli)
    chosen = FEW.model_copy(update={"prompts": ("elsewhere",)})
    subject = replace(subject, settings=subject.settings.model_copy(update={"population": chosen}))
    with pytest.raises(ValueError, match=r"'elsewhere'.*no_info"):
        measuring.trials(subject)
