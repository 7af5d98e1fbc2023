"""Readers: what they must tell and what they cannot, what is kept of turn 1, and what the model says of the same."""

from __future__ import annotations

from dataclasses import asdict
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from introspection.engine.run import run_trials
from introspection.engine.trial import Injection, Trial
from introspection.experiments.reader.evidence import cache_means, examples, half_directions, steered_prefill
from introspection.experiments.reader.measure import measure, trials
from introspection.experiments.reader.readers import Fold, folds, read
from introspection.experiments.reader.statistics import accuracy_interval, permutation_p, reader_summary
from introspection.experiments.reader.tables import FEW, MANY, READER, READERS
from introspection.experiments.subject import Subject, open_subject
from introspection.files import write_json
from introspection.injection.dose import QUESTIONS, Dose
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel
from introspection.names import NOTHING
from introspection.settings import ModelSettings, Settings, load_settings
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Stimuli
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def settings() -> Settings:
    settings = load_settings(ROOT / "params.yaml")
    reader = settings.reader.model_copy(update={"passages": 4, "random_directions": 1, "suffixes": 8, "few": 1})
    return settings.model_copy(update={"reader": reader})


@pytest.fixture(scope="module")
def subject(folders: dict[str, Path], settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("results") / "small"
    write_json(folder / QUESTIONS, asdict(Dose(1, 3, 4.0, None)))
    loading = ModelSettings(
        source=str(folders["qwen2"]), dtype="float32", layers=(1, 3), strength=4.0, filler="original", contrast=None
    )
    opened = open_subject(settings, "small", loading, Stimuli(ROOT / "data" / "prompts"), folder)
    suffixes = ["", "I think", "Well,", "So", "The", "One day", "My", "It was", "Yes"]
    return Subject(**{**vars(opened), "given_suffixes": suffixes}).loaded()


def synthetic(separation: float, shuffled: bool = False) -> tuple[np.ndarray, list[str], list[int]]:
    """40 examples each of two classes in 300 dimensions, in two halves, apart along one line."""
    generator = np.random.default_rng(0)
    labels = np.array(["nothing", "something"] * 40)
    features = generator.normal(size=(80, 300)).astype(np.float32)
    features += separation * np.outer(labels == "something", generator.normal(size=300)).astype(np.float32)
    if shuffled:
        labels = generator.permutation(labels)
    return features, labels.tolist(), [1 + (row // 2) % 2 for row in range(80)]


@pytest.mark.parametrize("few", [4, 12])
def test_separable_states_are_read_without_an_error(few: int) -> None:
    features, labels, halves = synthetic(3.0)
    found = list(read(features, labels, folds(halves, [None] * 80), few, seed=0))
    assert {(each.reader, each.examples) for each in found} == {
        (name, size) for name in READERS for size in (FEW, MANY)
    }
    for each in found:
        truth = np.array(labels)[each.rows]
        assert (each.labels == truth).all()
        assert each.scores is not None
        assert each.scores[truth == "something"].min() > each.scores[truth == "nothing"].max()


def test_shuffled_labels_are_read_at_chance() -> None:
    features, labels, halves = synthetic(3.0, shuffled=True)
    right = [
        each.labels == np.array(labels)[each.rows] for each in read(features, labels, folds(halves, [None] * 80), 4, 0)
    ]
    for name in range(4):
        mean = np.concatenate(right[name::4]).mean()
        assert abs(mean - 0.5) < 3 * 0.5 / np.sqrt(80)


def test_what_is_read_is_new_to_the_reader() -> None:
    halves = [1, 1, 1, 1, 2, 2, 2, 2] * 3
    groups = [0, 1, None, None] * 6
    parts = folds(halves, groups)
    assert sorted(np.concatenate([part.test for part in parts])) == list(range(24))
    for part in parts:
        assert {halves[row] for row in part.train}.isdisjoint(halves[row] for row in part.test)
        of = [{groups[row] for row in rows} - {None} for rows in (part.train, part.test)]
        assert of[0].isdisjoint(of[1]) and all(of)
        assert any(groups[row] is None for row in part.test)


@pytest.mark.parametrize("vector", ["v", None])
def test_turn_1_is_read_as_the_engine_reads_it(qwen2: LanguageModel, stimuli: Stimuli, vector: str | None) -> None:
    """The next token after turn 1, from the kept cache, is that of one pass with the vector at turn 1 alone."""
    ((_, drawn),) = random_vectors(qwen2, 1, seed=5)
    directions = {"v": drawn.directions}
    injections = (Injection("v", 6.0, 1, 3),) if vector else ()
    text = encode(qwen2.tokenizer, stimuli.detection["no_info"])
    kept = steered_prefill(qwen2, text, injections, directions)
    expected = run_trials(qwen2, [Trial(text.token_ids, text.steered, injections)], directions)[0, -1]
    cache = [(k, v) for k, v in zip(kept.keys, kept.values, strict=True)]
    from transformers import DynamicCache

    past = DynamicCache()
    for block, (keys, values) in enumerate(cache):
        past.update(keys, values, block)
    rest = torch.tensor([text.token_ids[text.steered[1] :]])
    with torch.inference_mode():
        logits = qwen2.model(input_ids=rest, past_key_values=past).logits[0, -1]
    assert torch.allclose(torch.softmax(logits, -1), torch.softmax(qwen2.logits(expected[None])[0], -1), atol=1e-5)


def test_the_means_are_over_turn_1_alone(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    text = encode(qwen2.tokenizer, stimuli.detection["no_info"])
    kept = steered_prefill(qwen2, text, (), {})
    start = text.steered[0]
    found = cache_means(kept, start)
    keys = kept.keys[0]
    assert found.shape == (2 * len(kept.keys) * keys.shape[1] * keys.shape[3],)
    by_hand = torch.stack([keys[0, :, place] for place in range(start, keys.shape[2])]).mean(dim=0).flatten()
    assert torch.allclose(found[: len(by_hand)], by_hand, atol=1e-6)


def test_halves_have_vectors_of_their_own(subject: Subject) -> None:
    directions = half_directions(subject)
    concepts = subject.settings.which.concepts
    assert set(directions) == {f"{name}, half {half}" for name in (*concepts, "random_1") for half in (1, 2)}
    for name in (concepts[0], "random_1"):
        one, other = (directions[f"{name}, half {half}"][2] for half in (1, 2))
        assert np.linalg.norm(one) == pytest.approx(1, abs=1e-4)
        assert abs(float(one @ other)) < 0.999


def test_every_example_is_answered_by_all(subject: Subject) -> None:
    (filled,) = measure(subject).values()
    table = READER.check(filled.rows.astype({"read_score": float, "said_score": float}))
    asked = examples(subject)
    assert len(asked) == 4 * (len(subject.settings.which.concepts) + 2)
    *training, answered = trials(subject)
    assert len(training) == len(subject.settings.which.concepts) + 1
    assert len(answered.trials) == 2 * len(asked)
    counts = table.groupby(["task", "evidence", "reader", "examples"]).size().unstack("task")
    assert (counts == {"which": 40, "detection": 40, "direction": 40}).all().all()
    half = table.groupby("passage")["half"].nunique()
    assert (half == 1).all() and table["half"].nunique() == 2
    assert set(table.loc[table["vector"] == NOTHING, "truth"]) == {NOTHING, "nothing"}
    detection = table[table["task"] == "detection"]
    assert ((detection["said_score"] > 0) == (detection["said"] == "something")).all()


def answers(read: list[str], said: list[str], truth: list[str]) -> pd.DataFrame:
    rows = len(truth)
    return pd.DataFrame(
        {
            "task": "detection",
            "evidence": "cache",
            "reader": "nearest_centroid",
            "examples": "few",
            "passage": [1 + row // 4 for row in range(rows)],
            "vector": [f"v{row}" for row in range(rows)],
            "truth": truth,
            "read": read,
            "said": said,
            "read_score": [1.0 if each == "something" else -1.0 for each in read],
            "said_score": 0.5,
        }
    )


def test_the_summary_by_hand(settings: Settings) -> None:
    truth = ["something", "something", "something", "nothing"] * 4
    said = ["something"] * 16
    row = reader_summary(answers(truth, said, truth), settings.reader).iloc[0]
    assert (row["model_accuracy"], row["reader_accuracy"], row["chance"]) == (0.5, 1.0, 0.5)
    assert (row["both"], row["model_only"], row["reader_only"], row["neither"]) == (12, 0, 4, 0)
    assert (row["reader_auc"], row["model_auc"]) == (1.0, 0.5)
    assert row["mcnemar_p"] == pytest.approx(2 * 0.5**4)
    assert row["model_p"] == 1.0 and (row["model_low"], row["model_high"]) == (0.5, 0.5)
    assert (row["reader_low"], row["reader_high"]) == (1.0, 1.0) and row["count"] == 16


def test_the_summary_counts_what_neither_says_and_keeps_the_order(settings: Settings) -> None:
    truth = [*(["something", "something", "nothing", "nothing"] * 2), "nothing"]
    said = [*(["something", "nothing", "nothing", "something"] * 2), "nothing"]
    read = [*(["nothing", "something", "nothing", "something"] * 2), "something"]
    first, then = (answers(truth, said, read).assign(task=task) for task in ("z", "a"))
    found = reader_summary(pd.concat([first, then]), settings.reader)
    assert found["task"].tolist() == ["z", "a"]
    for row in found.to_dict("records"):
        assert [row[name] for name in ("both", "model_only", "reader_only", "neither")] == [2, 2, 2, 3]
        assert row["mcnemar_p"] == 1.0  # as often one way as the other: twice a tail would be more than one


def test_the_interval_is_the_bootstrap_of_passages_drawn_one_by_one(settings: Settings) -> None:
    """Of the balanced accuracy, each time computed by scikit-learn from the rows of the passages that were drawn."""
    generator = np.random.default_rng(1)
    truth = ["something", "something", "nothing"] * 8
    said = [each if generator.random() < 0.7 else "nothing" for each in truth]
    table = answers(truth, said, truth).assign(passage=[1 + number // 3 for number in range(24)])
    rule = settings.reader.model_copy(update={"resamples": 4000})
    passages = [rows for _, rows in table.groupby("passage")]
    drawn = [
        balanced_accuracy_score(rows["truth"], rows["said"])
        for _ in range(2000)
        for rows in [pd.concat([passages[each] for each in generator.integers(0, 8, 8)])]
    ]
    tail = (1 - rule.confidence) / 2
    assert accuracy_interval(table, "said", rule) == pytest.approx(np.quantile(drawn, [tail, 1 - tail]), abs=0.04)
    few = rule.model_copy(update={"resamples": 50})
    assert len({accuracy_interval(table, "said", few) for _ in range(5)}) == 1, "the same seed draws the same"


def test_the_permutation_is_within_passages(settings: Settings) -> None:
    """All right: a permutation agrees where it leaves the one `nothing` of each of three passages, (1/4)^3."""
    truth = ["something", "something", "something", "nothing"] * 3
    rule = settings.reader.model_copy(update={"permutations": 40_000})
    found = permutation_p(answers(truth, truth, truth), "read", rule)
    assert found == pytest.approx(1 / 64, abs=4 * np.sqrt(1 / 64 / 40_000))


@pytest.mark.parametrize(("truth", "said"), [("sssnssnn", "snsnsssn"), ("snsnmsnn", "nmnsmssm")])
def test_the_permutation_is_of_the_balanced_accuracy(settings: Settings, truth: str, said: str) -> None:
    """Every order of what is right within each of two passages, its accuracy computed by scikit-learn."""
    found = balanced_accuracy_score([*truth], [*said])
    as_well = [
        balanced_accuracy_score([*one, *other], [*said]) >= found - 1e-9
        for one in permutations(truth[:4])
        for other in permutations(truth[4:])
    ]
    rule = settings.reader.model_copy(update={"permutations": 40_000})
    table = answers([*said], [*said], [*truth]).iloc[
        [0, 4, 1, 5, 2, 6, 3, 7]
    ]  # a passage's rows need not stand together
    drawn = permutation_p(table, "read", rule)
    assert drawn == pytest.approx(np.mean(as_well), abs=0.01)
    assert permutation_p(table, "read", rule) == drawn, "the same seed draws the same"


def test_dimensions_that_hold_rounding_alone_change_nothing() -> None:
    """Without the check, standardising makes as much of the last bits as of what varies."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(40, 6)).astype(np.float32)
    rounding = (100 * (1 + 1e-7 * generator.integers(-3, 4, size=(40, 50)))).astype(np.float32)
    labels = ["a" if value > 0 else "b" for value in features[:, 0]]
    parts = [Fold(np.arange(20), np.arange(20, 40))]
    plain, padded = (
        list(read(each, labels, parts, few=4, seed=1)) for each in (features, np.hstack([features, rounding]))
    )
    for one, other in zip(plain, padded, strict=True):
        assert list(one.labels) == list(other.labels)
        assert one.scores is not None and other.scores is not None
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-6)
