"""Directions that are made of concepts' vectors or drawn beside them, against closed forms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from introspection import names
from introspection.experiments.subject import PlannedSubject
from introspection.injection.derived import centred, companions, mean_cosine, mean_direction, negated
from introspection.injection.matched import coherent_vectors, covariance_vectors, weighted
from introspection.injection.repengs import ControlVector
from introspection.injection.vectors import random_vectors, save_vector
from introspection.settings import load_settings
from introspection.stimuli.prompts import Stimuli
from tests.conftest import ROOT
from tests.small_models import load

HIDDEN, BLOCKS = 12, (3, 2, 1)
Vector = Mapping[int, np.ndarray]


def vectors(seed: int, count: int) -> dict[str, Vector]:
    generator = np.random.default_rng(seed)
    made = {}
    for name in ("cat", "bread", "love", "fear")[:count]:
        rows = generator.standard_normal((len(BLOCKS), HIDDEN)) + 0.5  # they share something
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        made[name] = dict(zip(BLOCKS, rows, strict=True))
    return made


seeds, counts = st.integers(0, 10**6), st.integers(2, 4)


@given(seeds, counts)
def test_what_concepts_share_is_the_mean_of_the_others(seed: int, count: int) -> None:
    concepts = vectors(seed, count)
    made = companions(concepts, 0, seed)
    assert sorted(made) == sorted(names.companion_names(list(concepts), 0))
    for name in concepts:
        others = [vector for key, vector in concepts.items() if key != name]
        for block in BLOCKS:
            mean = sum(each[block].astype(float) for each in others)
            shared, rest = made[f"shared_{name}"][block], made[f"centred_{name}"][block]
            np.testing.assert_allclose(shared, mean / np.linalg.norm(mean), atol=1e-6)
            assert abs(float(rest @ shared)) < 1e-5
            assert float(rest @ concepts[name][block]) > 0
            for direction in (shared, rest):
                assert np.linalg.norm(direction) == pytest.approx(1, abs=1e-6)
            # the concept is made up of the two
            own = concepts[name][block]
            np.testing.assert_allclose((own @ shared) * shared + (own @ rest) * rest, own, atol=1e-5)
            np.testing.assert_array_equal(made[f"negated_{name}"][block], -own)


@given(seeds)
def test_a_concept_has_no_part_in_what_it_is_compared_with(seed: int) -> None:
    concepts = vectors(seed, 4)
    changed = {**concepts, "cat": negated(concepts["cat"])}
    before, after = (companions(each, 1, seed) for each in (concepts, changed))
    np.testing.assert_array_equal(before["shared_cat"][2], after["shared_cat"][2])
    assert not np.array_equal(before["shared_bread"][2], after["shared_bread"][2])


def test_vectors_that_leave_nothing_are_refused() -> None:
    concepts = vectors(1, 2)
    with pytest.raises(ValueError, match=r"block \d: nothing is left"):
        centred(concepts["cat"], concepts["cat"])
    with pytest.raises(ValueError, match=r"block \d: nothing is left"):
        mean_direction([concepts["cat"], negated(concepts["cat"])])


@given(seeds, st.integers(1, 3))
def test_companions_have_random_directions_of_the_same_shape(seed: int, count: int) -> None:
    made = companions(vectors(seed, 2), count, seed)
    assert {name for name in made if names.kind_of(name) == "coherent"} == {
        f"coherent_{number}" for number in range(1, count + 1)
    }
    assert all([*vector] == [*BLOCKS] for vector in made.values())
    assert all(len(direction) == HIDDEN for vector in made.values() for direction in vector.values())
    for name, vector in coherent_vectors(list(BLOCKS), HIDDEN, count, seed):
        assert all(np.array_equal(made[name][block], vector[block]) for block in BLOCKS)


def test_what_is_taken_away_is_the_part_along_another_of_any_length() -> None:
    one, other = {1: np.array([3.0, 4.0], dtype=np.float32)}, {1: np.array([10.0, 0.0], dtype=np.float32)}
    np.testing.assert_allclose(centred(one, other)[1], [0.0, 1.0], atol=1e-7)
    assert centred(one, other)[1].dtype == np.float32 and mean_direction([one, other])[1].dtype == np.float32


def test_one_concept_has_no_others() -> None:
    assert sorted(companions(vectors(1, 1), 1, 0)) == ["coherent_1", "negated_cat"]
    assert names.companion_names(["cat"], 1) == ["coherent_1", "negated_cat"]


@given(seeds, st.integers(1, 5))
def test_coherent_directions_are_the_same_at_all_blocks(seed: int, count: int) -> None:
    made = dict(coherent_vectors(BLOCKS, HIDDEN, count, seed))
    assert list(made) == [f"coherent_{number}" for number in range(1, count + 1)]
    for direction in made.values():
        assert np.linalg.norm(direction[1]) == pytest.approx(1, abs=1e-6)
        assert all(np.array_equal(direction[1], direction[block]) for block in BLOCKS)
    assert len({tuple(direction[1]) for direction in made.values()}) == count
    longer = dict(coherent_vectors(BLOCKS, HIDDEN, count + 1, seed))
    assert np.array_equal(longer["coherent_1"][1], made["coherent_1"][1])  # one more changes none


def test_draws_have_the_covariance_of_the_states() -> None:
    generator = np.random.default_rng(4)
    states = (generator.standard_normal((9, 5)) @ generator.standard_normal((5, 5)) + 3).astype(np.float32)
    centre = states.mean(axis=0, dtype=float)
    draws = np.stack([weighted(weights, states, centre) for weights in generator.standard_normal((40000, 9))])
    expected = np.cov(states.T)
    np.testing.assert_allclose(np.cov(draws.T), expected, atol=0.04 * np.abs(expected).max())
    np.testing.assert_allclose(draws.mean(axis=0), 0, atol=0.05 * np.sqrt(expected.max()))


def test_draws_go_together_over_the_blocks() -> None:
    states = np.random.default_rng(5).standard_normal((7, HIDDEN)).astype(np.float32)
    turn = np.linalg.qr(np.random.default_rng(6).standard_normal((HIDDEN, HIDDEN)))[0].astype(np.float32)
    made = dict(covariance_vectors({1: states, 2: states @ turn + 5}, 3, seed=1))
    for direction in made.values():
        assert np.linalg.norm(direction[1]) == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(direction[1] @ turn, direction[2], atol=1e-5)
    assert abs(float(made["covariance_1"][1] @ made["covariance_2"][1])) < 0.99


def test_a_mean_cosine_is_that_of_the_range() -> None:
    one = {1: np.array([1.0, 0.0]), 2: np.array([0.6, 0.8]), 3: np.array([0.0, 1.0])}
    other = {block: np.array([1.0, 0.0]) for block in (1, 2, 3)}
    assert mean_cosine(one, other, (1, 2)) == pytest.approx(0.8)
    assert mean_cosine(one, other, (2, 3)) == pytest.approx(0.3)


@pytest.mark.parametrize(
    "name",
    ["shared_cat", "centred_X", "NEGATED_cat", "shared", "coherent", "Coherent_2", "covariance_10", "phrasing_1"],
)
def test_a_concept_cannot_take_a_name_of_ours(name: str) -> None:
    with pytest.raises(ValueError, match="a name of the study itself"):
        names.check_concepts(["cat", name])


@pytest.mark.parametrize(
    "name", ["sharedcat", "random walk", "coherent_x", "halves", "concept", "centred-x", "shared_"]
)
def test_other_words_are_concepts(name: str) -> None:
    expected = "halves" if name == "halves" else "concept"
    assert names.kind_of(name) == expected


def test_every_kind_is_told_by_its_names() -> None:
    for name in names.companion_names(["cat", "bread"], 2):
        assert names.kind_of(name) == name.partition("_")[0]
        assert names.kind_of(name) in names.KINDS
    labels = [names.vector_label(kind) for kind in names.GROUPED]
    assert len(set(labels)) == len(labels) and not set(labels) & set(names.GROUPED)


def test_a_subject_has_companions_of_the_vectors_in_its_files(
    folders: dict[str, Path], stimuli: Stimuli, tmp_path: Path
) -> None:
    model, settings = load(folders["qwen2"]), load_settings(ROOT / "params.yaml")
    for name, (_, vector) in zip(
        settings.study.concepts, random_vectors(model, len(settings.study.concepts), 1), strict=True
    ):
        save_vector(ControlVector("qwen2", vector.directions), tmp_path / "vectors" / names.file_name(name))
    own = settings.models["organism"].model_copy(update={"layers": (1, 3)})
    subject = PlannedSubject("tiny", settings, own, stimuli, tmp_path, model)
    found = subject.directions([*subject.concepts[:1], *subject.companions])
    assert list(found) == ["cat", *subject.companions]
    assert len(subject.companions) == settings.study.random_directions + 3 * len(settings.study.concepts)
    read = subject.directions(subject.concepts)
    made = companions(read, settings.study.random_directions, settings.study.seed)
    for name in subject.companions:
        for block in range(1, 5):
            np.testing.assert_array_equal(found[name][block], made[name][block])
