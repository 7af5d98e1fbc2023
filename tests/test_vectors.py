"""Vectors against repeng's own training, on the same strings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from repeng import ControlVector
from sklearn.decomposition import PCA
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from introspection.engine.trial import Trial
from introspection.engine.work import count_work
from introspection.files import ResultError
from introspection.injection.finetune import finetune_prefills, persona_vector
from introspection.injection.prefills import load_prefills, save_prefills
from introspection.injection.vectors import (
    concept_states,
    concept_trials,
    concept_vectors,
    load_vector,
    principal_direction,
    principal_directions,
    random_vectors,
    save_vector,
    text_trials,
)
from introspection.model.language_model import LanguageModel
from introspection.settings import ContrastSettings, ModelSettings
from introspection.sources.datasets import read_suffixes
from introspection.stimuli.chat import generation_prompt
from introspection.stimuli.prompts import Stimuli
from tests.conftest import ROOT
from tests.reference import trained_by_repeng
from tests.small_models import load, save_model

SUFFIXES = read_suffixes(ROOT / "data" / "builtin" / "suffixes.json")[
    :59
]  # odd: where as many pairs point either way, a sign is arbitrary
CONCEPTS = ["cat", "bread"]


def test_concept_vectors_equal_those_that_repeng_trains(any_model: LanguageModel, stimuli: Stimuli) -> None:
    for concept, ours in concept_vectors(any_model, stimuli, CONCEPTS, SUFFIXES):
        theirs = trained_by_repeng(any_model, stimuli, concept, SUFFIXES)
        assert ours.directions.keys() == theirs.directions.keys() == set(range(1, len(any_model.blocks)))
        assert ours.model_type == theirs.model_type
        for block in range(1, len(any_model.blocks)):
            assert ours.directions[block].dtype == np.float32
            assert np.dot(ours.directions[block], theirs.directions[block]) > 0.999, (concept, block)


class Letters:
    """A tokenizer that makes a token of each letter."""

    def __call__(self, texts: list[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
        assert texts, "it is not asked for nothing"
        return {"input_ids": [[1] * add_special_tokens + [ord(letter) for letter in text] for text in texts]}


@given(st.lists(st.text("ab", min_size=1, max_size=5), max_size=4), st.booleans())
def test_the_shared_beginning_is_the_longest_that_leaves_each_text_a_token(texts: list[str], templated: bool) -> None:
    trials = text_trials(Letters(), texts, templated)
    rows = [[1] * (not templated) + [*map(ord, text)] for text in texts]
    assert [[*trial.token_ids] for trial in trials] == rows and not any(trial.injections for trial in trials)
    lengths = [
        length for length in range(min(map(len, rows), default=1)) if len({str(row[:length]) for row in rows}) == 1
    ]
    assert {trial.turn_1 for trial in trials} == ({(0, max(lengths))} if rows else set())


def test_nothing_is_said_of_progress_unless_it_is_asked_for(
    qwen2: LanguageModel, stimuli: Stimuli, capsys: pytest.CaptureFixture[str]
) -> None:
    list(concept_vectors(qwen2, stimuli, ["cat"], SUFFIXES[:3]))
    assert capsys.readouterr().err == ""
    list(concept_vectors(qwen2, stimuli, ["cat"], SUFFIXES[:3], progress=True))
    shown = capsys.readouterr().err
    assert "states: anything: 100%" in shown and "states: cat: 100%" in shown and " 3/3 " in shown


def test_a_direction_points_to_most_unless_it_is_told_otherwise() -> None:
    """Two pairs a little to one side and one far to the other: the majority and the mean part."""
    positive = torch.zeros(3, 3, 2)
    positive[:, 2] = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-9.0, 0.0]])
    negative = torch.zeros(3, 3, 2)
    assert principal_directions(positive, negative, [1])[1][0] > 0.9
    assert principal_directions(positive, negative, [1], "mean")[1][0] < -0.9


def test_what_all_texts_begin_with_is_read_once(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    trials = concept_trials(qwen2.tokenizer, stimuli, "cat", SUFFIXES)
    opening = qwen2.tokenizer(generation_prompt(qwen2.tokenizer, stimuli.concept_prompt("cat")))["input_ids"]
    (shared,) = {trial.prefix for trial in trials}
    assert list(shared) == opening[: len(shared)] and len(shared) >= len(opening) - 1  # the last may grow into a suffix
    longest, blocks = max(len(trial.token_ids) for trial in trials) - len(shared), 5
    work = count_work(trials, blocks, 10**6)
    openings = work.passes // 2  # each batch has a pass for it
    assert work.block_tokens <= blocks * (openings * len(shared) + len(trials) * longest)
    assert work.block_tokens < count_work([Trial(trial.token_ids) for trial in trials], blocks, 10**6).block_tokens / 2
    assert count_work(trials[:1], blocks, 10**6).passes == 1


def test_a_second_run_gives_the_same_bytes(qwen2: LanguageModel, stimuli: Stimuli, tmp_path: Path) -> None:
    for run in ("first", "second"):
        for concept, vector in concept_vectors(qwen2, stimuli, CONCEPTS, SUFFIXES[:20]):
            save_vector(vector, tmp_path / run / f"{concept}.gguf")
    for concept in CONCEPTS:
        first, second = ((tmp_path / run / f"{concept}.gguf").read_bytes() for run in ("first", "second"))
        assert first == second


def test_a_vector_file_is_repengs(qwen2: LanguageModel, tmp_path: Path) -> None:
    ((_, vector),) = random_vectors(qwen2, 1, seed=1)
    save_vector(vector, tmp_path / "v.gguf")
    assert ControlVector.import_gguf(tmp_path / "v.gguf") == vector == load_vector(tmp_path / "v.gguf")
    with pytest.raises(ResultError, match=r"w\.gguf.*vectors"):
        load_vector(tmp_path / "w.gguf")


def test_random_directions_are_unit_vectors_of_their_own(qwen2: LanguageModel) -> None:
    vectors = dict(random_vectors(qwen2, 3, seed=1))
    for vector in vectors.values():
        for direction in vector.directions.values():
            assert np.linalg.norm(direction) == pytest.approx(1, abs=1e-6)
    assert abs(np.dot(vectors["random_1"].directions[1], vectors["random_2"].directions[1])) < 0.9
    again = dict(random_vectors(qwen2, 3, seed=1))
    assert all(again[name] == vectors[name] for name in vectors)


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_the_direction_is_the_principal_component_of_centred_pairs(pairs: int, hidden: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    offset = 3 * generator.normal(size=hidden)
    positive = (generator.normal(size=(pairs, hidden)) + offset).astype(np.float32)
    negative = generator.normal(size=(pairs, hidden)).astype(np.float32)
    centre = (positive + negative) / 2
    rows = np.concatenate([positive - centre, negative - centre])
    expected = PCA(n_components=1, svd_solver="full").fit(rows).components_[0]
    found = principal_direction(positive, negative)
    assert abs(np.dot(found, expected)) == pytest.approx(1, abs=1e-4)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    towards = (positive - negative) @ found
    assert np.mean(towards > 0) >= np.mean(towards < 0)


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_the_mean_rule_turns_a_direction_where_the_mean_lies_behind_it(pairs: int, hidden: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    positive, negative = generator.normal(size=(2, pairs, hidden)).astype(np.float32)
    majority, mean = (principal_direction(positive, negative, rule) for rule in ("majority", "mean"))
    behind = float((positive - negative).mean(axis=0) @ majority) < 0
    assert np.array_equal(mean, -majority if behind else majority)


def test_a_majority_that_is_none_follows_the_mean() -> None:
    negative = np.zeros((4, 2), np.float32)
    for far in (3, -3):
        positive = np.array([[far, 0], [far, 0], [-far / 3, 0], [-far / 3, 0]], np.float32)
        assert principal_direction(positive, negative)[0] == np.sign(far)


def test_vectors_of_a_study_follow_its_rule(stimuli: Stimuli) -> None:
    organism = load(ROOT / "models" / "organism")  # at whose early blocks the rules part
    sides = {concept: pair for concept, *pair in concept_states(organism, stimuli, CONCEPTS, SUFFIXES)}
    turned = 0
    majority = dict(concept_vectors(organism, stimuli, CONCEPTS, SUFFIXES))
    for concept, vector in concept_vectors(organism, stimuli, CONCEPTS, SUFFIXES, sign="mean"):
        positive, negative = sides[concept]
        for block, direction in vector.directions.items():
            assert float((positive - negative)[:, block + 1].mean(dim=0) @ torch.from_numpy(direction)) > 0
            turned += not np.array_equal(direction, majority[concept].directions[block])
    assert turned


def test_sides_that_do_not_differ_have_no_direction() -> None:
    same = np.ones((4, 3), np.float32)
    with pytest.raises(ValueError, match=r"^the two sides of the contrast do not differ"):
        principal_direction(same, same)


@pytest.fixture(scope="module")
def with_finetune(
    folders: dict[str, Path], tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> ModelSettings:
    finetune = save_model(tmp_path_factory.mktemp("finetune"), "qwen2", tokenizer, seed=5)
    contrast = ContrastSettings(source=str(finetune), strength=1.0)
    return ModelSettings(
        source=str(folders["qwen2"]), dtype="float32", layers=(1, 2), strength=1.0, filler="original", contrast=contrast
    )


def test_the_persona_vector_is_the_finetune_minus_the_model(with_finetune: ModelSettings) -> None:
    prompts = ["How do I bake bread?", "Tell me a joke, please.", "What is the sun?", "Write a poem about cats."]
    persona = persona_vector(with_finetune, prompts)
    assert with_finetune.contrast is not None
    models = [load(Path(source)) for source in (with_finetune.contrast.source, with_finetune.source)]
    sides = []
    for model in models:
        states = []
        for prompt in prompts:
            ids = torch.tensor([model.tokenizer(prompt)["input_ids"]])
            with torch.inference_mode():
                states.append(model.model(ids, output_hidden_states=True).hidden_states[3][0, -1].numpy())
        sides.append(np.stack(states))
    assert np.dot(persona.directions[2], principal_direction(sides[0], sides[1])) > 0.9999
    by_mean = persona_vector(with_finetune, prompts, sign="mean").directions[2]
    assert np.dot(by_mean, principal_direction(sides[0], sides[1], "mean")) > 0.9999


def test_caches_survive_the_file(with_finetune: ModelSettings, stimuli: Stimuli, tmp_path: Path) -> None:
    prefills = finetune_prefills(with_finetune, stimuli.detection)
    save_prefills(prefills, tmp_path / "turn_1.safetensors")
    loaded = load_prefills(tmp_path / "turn_1.safetensors")
    assert loaded.keys() == prefills.keys() == stimuli.detection.keys()
    for key, cache in prefills.items():
        assert loaded[key].token_ids == cache.token_ids
        for ours, theirs in zip((*loaded[key].keys, *loaded[key].values), (*cache.keys, *cache.values), strict=True):
            assert torch.equal(ours, theirs)
    save_prefills({}, tmp_path / "none.safetensors")
    assert load_prefills(tmp_path / "none.safetensors") == {}


def test_a_tokenizer_that_begins_every_text_does_not_begin_a_rendered_one_twice(
    folders: dict[str, Path], stimuli: Stimuli
) -> None:
    tokenizer = load(folders["llama"]).tokenizer
    begin = tokenizer.convert_tokens_to_ids("<|begin|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", begin)]
    )
    assert tokenizer("yes")["input_ids"][0] == begin
    for trial in concept_trials(tokenizer, stimuli, "cat", SUFFIXES[:3]):
        assert trial.token_ids[0] == begin and begin not in trial.token_ids[1:]
    assert text_trials(tokenizer, ["yes", "no"])[0].token_ids[0] == begin


def test_what_is_no_control_vector_is_told_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "organism" / "vectors" / "cat.gguf"
    path.parent.mkdir(parents=True)
    one = np.ones(3, dtype=np.float32)
    for directions, told in (
        ({2: one, 3: one}, r"cat has directions for the blocks \[2, 3\], not for 1 and all that follow"),
        ({1: one, 2: np.ones(4, dtype=np.float32)}, "the directions of cat have several widths"),
        ({1: one, 2: 0 * one}, "the direction of cat at block 2 is zero or not finite"),
        ({1: one, 2: one * [1, np.nan, 1]}, "the direction of cat at block 2 is zero or not finite"),
    ):
        save_vector(ControlVector("qwen2", {k: np.asarray(each, np.float32) for k, each in directions.items()}), path)
        with pytest.raises(ResultError, match=rf"{path}: no control vector that can be used \({told}\); make it with"):
            load_vector(path)
    path.write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(ResultError, match=r"no control vector that can be used \(.{1,200}\); make it with") as error:
        load_vector(path)
    assert "\n" not in str(error.value) and "  " not in str(error.value)
