"""Steered replies against repeng's own steering and against rows alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pytest
import repeng.control
import torch
from repeng import ControlModel

from introspection.engine.reading import NotFiniteError
from introspection.engine.trial import Injection
from introspection.experiments.samples.measure import Intervention, generate_replies, interventions, samples_table
from introspection.injection.dose import doses
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel
from introspection.settings import ModelSettings, load_settings
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Stimuli
from tests.conftest import ROOT
from tests.small_models import load

SEED = 4  # of directions under each of which every random model of the tests says another thing

UNDER = [
    Intervention("none"),
    Intervention("cat", Injection("random_1", 6.0, 1, 3)),
    Intervention("bread", Injection("random_2", 6.0, 2, 4)),
    Intervention("anti", Injection("random_2", -6.0, 2, 4)),
]


@pytest.fixture(scope="module", params=["qwen2", "llama", "gemma2"])
def model(request: pytest.FixtureRequest, folders: dict[str, Path]) -> LanguageModel:
    return load(folders[request.param])


def directions(model: LanguageModel) -> dict:
    return {name: vector.directions for name, vector in random_vectors(model, 2, seed=SEED)}


def reference(model: LanguageModel, stimuli: Stimuli, injection: Injection | None, count: int) -> str:
    """The greedy reply of repeng's ControlModel, which steers every position it reads or writes."""
    ids = torch.tensor([encode(model.tokenizer, stimuli.top_of_mind).token_ids])
    options = {"max_new_tokens": count, "do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(ids)}
    if injection is None:
        generated = model.model.generate(ids, **options)
    else:
        vector = dict(random_vectors(model, 2, seed=SEED))[injection.vector]
        with mock.patch.object(repeng.control, "model_layer_list", lambda _: model.blocks):
            wrapped = ControlModel(model.model, list(range(injection.first_layer, injection.last_layer + 1)))
            wrapped.set_control(vector, injection.strength)
            generated = wrapped.generate(ids, **options)
            wrapped.unwrap()
    text: str = model.tokenizer.decode(generated[0, ids.shape[1] :], skip_special_tokens=True)
    return stimuli.top_of_mind[-1].content + text


def test_replies_equal_repengs(model: LanguageModel, stimuli: Stimuli) -> None:
    replies = generate_replies(model, stimuli.top_of_mind, UNDER, directions(model), max_new_tokens=12)
    assert replies == [reference(model, stimuli, each.injection, 12) for each in UNDER]
    assert len(set(replies)) == len(UNDER), "each vector changes the reply"
    assert all(reply.startswith("I'm thinking about") for reply in replies)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_of_the_batch_equals_the_row_alone(model: LanguageModel, stimuli: Stimuli, temperature: float) -> None:
    options = {"max_new_tokens": 12, "temperature": temperature, "seed": 4}
    together = generate_replies(model, stimuli.top_of_mind, UNDER, directions(model), **options)
    for each, reply in zip(UNDER, together, strict=True):
        assert generate_replies(model, stimuli.top_of_mind, [each], directions(model), **options) == [reply]


def test_samples_follow_the_seed_and_the_softmax(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    def first_token(seed: int, temperature: float) -> str:
        (reply,) = generate_replies(
            qwen2, stimuli.top_of_mind, UNDER[:1], {}, max_new_tokens=1, temperature=temperature, seed=seed
        )
        return reply

    ids = torch.tensor([encode(qwen2.tokenizer, stimuli.top_of_mind).token_ids])
    with torch.inference_mode():
        logits = qwen2.model(ids).logits[0, -1]
    temperature = next(t / 100 for t in range(5, 500) if torch.softmax(logits / (t / 100), -1).max() < 0.6)
    expected = float(torch.softmax(logits / temperature, -1).max())
    greedy = first_token(0, 0.0)
    draws = [first_token(seed, temperature) for seed in range(150)]
    assert draws[:5] == [first_token(seed, temperature) for seed in range(5)]
    assert abs(draws.count(greedy) / len(draws) - expected) < 4 * (0.25 / len(draws)) ** 0.5
    assert first_token(1, 0.01) == greedy


def test_a_models_own_generation_settings_do_not_apply(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    plain = generate_replies(qwen2, stimuli.top_of_mind, UNDER, directions(qwen2), max_new_tokens=12)
    own = qwen2.model.generation_config
    own.repetition_penalty, own.do_sample, own.top_k = 9.0, True, 3
    try:
        again = generate_replies(qwen2, stimuli.top_of_mind, UNDER, directions(qwen2), max_new_tokens=12)
        assert qwen2.model.generation_config is own
    finally:
        own.repetition_penalty, own.do_sample, own.top_k = None, None, None
    assert again == plain


def test_a_reply_ends_at_the_end_token_and_shows_none(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    end = qwen2.tokenizer.convert_tokens_to_ids("<|im_end|>")
    towards_end = qwen2.unembedding.weight[end] / qwen2.unembedding.weight[end].norm()
    under = [Intervention("none"), Intervention("end", Injection("end", 1e4, 4, 4))]
    replies = generate_replies(qwen2, stimuli.top_of_mind, under, {"end": {4: towards_end}}, max_new_tokens=8)
    assert replies[1] == "I'm thinking about"
    assert len(replies[0]) > len(replies[1]) and "<|" not in replies[0]


def test_the_studys_interventions_and_their_table() -> None:
    contrast = {"source": "x", "strength": 10.0, "sample_strength": 20.0}
    values = {"source": "m", "dtype": "float32", "layers": [2, 5], "strength": 40.0, "filler": "original"}
    sweep = load_settings(ROOT / "params.yaml").sweep
    settings = ModelSettings.model_validate(values | {"contrast": contrast})
    under = interventions(doses(settings, sweep).replies.within((1, 3)), ["cat"])
    assert under == [
        Intervention("none"),
        Intervention("cat", Injection("cat", 40.0, 1, 3)),
        Intervention("persona", Injection("persona", 20.0, 1, 3)),
        Intervention("anti_persona", Injection("persona", -20.0, 1, 3)),
    ]
    bare = ModelSettings.model_validate(values)
    assert [each.name for each in interventions(doses(bare, sweep).replies, ["cat"])] == ["none", "cat"]
    table = samples_table([*under, Intervention("finetune")], list("abcde"))
    assert list(table.columns) == ["intervention", "strength", "first_layer", "last_layer", "text"]
    assert list(table["strength"][:4]) == [0.0, 40.0, 20.0, -20.0] and pd.isna(table["strength"][4])
    assert table["first_layer"].isna().tolist() == [True, False, False, False, True]


def test_replies_that_do_not_fit_are_written_in_halves_and_the_log_says_so(
    model: LanguageModel, stimuli: Stimuli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    how: dict[str, Any] = {"max_new_tokens": 5, "temperature": 0.7, "seed": 3}
    expected = generate_replies(model, stimuli.top_of_mind, UNDER, directions(model), **how)
    generate, wrote = model.model.generate, []

    def small_memory(rows: torch.Tensor, **named: object) -> torch.Tensor:
        if len(rows) > 2:
            raise MemoryError
        wrote.append(len(rows))
        return generate(rows, **named)

    monkeypatch.setattr(model.model, "generate", small_memory)
    assert generate_replies(model, stimuli.top_of_mind, UNDER, directions(model), **how) == expected
    assert wrote == [2, 2]
    assert "memory does not hold 4 replies at once: they are written in halves" in capsys.readouterr().err
    monkeypatch.setattr(model.model, "generate", mock.Mock(side_effect=MemoryError))
    with pytest.raises(MemoryError):
        generate_replies(model, stimuli.top_of_mind, UNDER, directions(model), **how)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_stop_a_reply_and_say_where(
    temperature: float, model: LanguageModel, stimuli: Stimuli
) -> None:
    under = [UNDER[0], Intervention("cat", Injection("random_1", 1e39, 1, 3))]
    how: dict[str, Any] = {"max_new_tokens": 2, "temperature": temperature}
    with pytest.raises(NotFiniteError, match=r"^the logits of token 1 of the reply under cat \(.*1e\+39.*not finite"):
        generate_replies(model, stimuli.top_of_mind, under, directions(model), **how)
