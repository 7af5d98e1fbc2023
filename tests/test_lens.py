"""Logit lens and content reports, against the two-phase procedure and the model's own hidden states."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from introspection.engine.run import prefill
from introspection.engine.trial import Injection
from introspection.experiments.content.measure import concept_tokens, report_content, token_text
from introspection.experiments.lens.measure import Weak, yes_lens, yes_variants
from introspection.injection.depths import token_probabilities
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Stimuli
from introspection.tables import csv_text
from tests.conftest import ROOT
from tests.reference import two_phase_lens
from tests.small_models import load

INJECTIONS = [Injection("random_1", 4.0, 1, 3), Injection("random_2", 2.0, 2, 2)]


@pytest.fixture(scope="module", params=["qwen2", "llama"])
def model(request: pytest.FixtureRequest, folders: dict[str, Path]) -> LanguageModel:
    return load(folders[request.param])


def lens_by_hand(model: LanguageModel, stimuli: Stimuli) -> Callable[..., torch.Tensor]:
    """Probabilities at every layer by the two-phase procedure, for a conversation under an injection or none."""
    vectors = dict(random_vectors(model, 2, seed=3))

    def probabilities(conversation: tuple, injection: Injection | None, factor: float = 1.0) -> torch.Tensor:
        if injection is None:
            return two_phase_lens(model, conversation, None).double().softmax(-1)
        layers = (injection.first_layer, injection.last_layer)
        strength = factor * injection.strength
        return two_phase_lens(model, conversation, vectors[injection.vector], strength, layers).double().softmax(-1)

    return probabilities


def directions(model: LanguageModel) -> dict:
    return {name: vector.directions for name, vector in random_vectors(model, 2, seed=3)}


def test_every_layer_and_scenario_equals_the_two_phase_procedure(model: LanguageModel, stimuli: Stimuli) -> None:
    own = {
        prompt: prefill(
            model, (text := encode(model.tokenizer, stimuli.detection[prompt])).token_ids[: text.steered[1]]
        )
        for prompt in stimuli.detection
    }
    table = yes_lens(model, stimuli, INJECTIONS, directions(model), own, weak=Weak("info", 0.25))
    assert list(table.columns) == [
        "vector", "scenario", "prompt", "strength", "layer", "p_yes_base", "p_yes_injected",
    ]  # fmt: skip
    scenarios = [*stimuli.detection, "weak"]
    expected = [(v, s) for v in ("random_1", "random_2") for s in scenarios]
    expected += [("finetune", scenario) for scenario in stimuli.detection]
    assert list(dict.fromkeys(zip(table["vector"], table["scenario"], strict=True))) == expected
    assert list(table["layer"]) == list(range(len(model.blocks) + 1)) * len(expected)

    yes = [model.token(variant) for variant in yes_variants(model, stimuli).used]
    assert len(yes) > 1
    probabilities = lens_by_hand(model, stimuli)
    arms = {injection.vector: injection for injection in INJECTIONS}
    for (vector, scenario), rows in table.groupby(["vector", "scenario"]):
        prompt = "info" if scenario == "weak" else scenario
        assert set(rows["prompt"]) == {prompt}
        conversation = stimuli.detection[prompt]
        base = probabilities(conversation, None)[:, yes].sum(-1)
        arm, factor = arms.get(vector), 0.25 if scenario == "weak" else 1.0
        injected = probabilities(conversation, arm, factor)[:, yes].sum(-1)
        assert rows["strength"].isna().all() if arm is None else set(rows["strength"]) == {factor * arm.strength}
        torch.testing.assert_close(torch.tensor(rows["p_yes_base"].to_numpy()).double(), base, rtol=3e-5, atol=0)
        torch.testing.assert_close(
            torch.tensor(rows["p_yes_injected"].to_numpy()).double(), injected, rtol=3e-5, atol=0
        )
        if arm:
            assert abs(injected[-1] / base[-1] - 1) > 1e-4 and injected[0] == base[0]


def test_variants_that_are_not_one_token_are_left_out_and_named(
    model: LanguageModel, stimuli: Stimuli, tmp_path: Path
) -> None:
    variants = yes_variants(model, stimuli)
    assert "是" in variants.left_out and " yes" in variants.used
    assert sorted(variants.used + variants.left_out) == sorted(stimuli.yes_variants)
    prompts = (ROOT / "data" / "prompts" / "detection.yaml").read_text(encoding="utf-8")
    (tmp_path / "detection.yaml").write_text(re.sub(r"yes_variants: .*", "yes_variants: [是, jawohl]", prompts))
    with pytest.raises(RuntimeError, match="none of the yes variants"):
        yes_variants(model, Stimuli(tmp_path))


def test_reading_in_parts_equals_reading_at_once(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    states = torch.randn(3, 4, model.hidden_size, generator=torch.Generator().manual_seed(0))
    whole = token_probabilities(model, states, [7, 300])
    assert whole.shape == (3, 4, 2)
    monkeypatch.setattr("introspection.injection.depths._BYTES_AT_ONCE", 1)
    torch.testing.assert_close(token_probabilities(model, states, [7, 300]), whole)


def test_content_equals_the_two_phase_procedure(model: LanguageModel, stimuli: Stimuli) -> None:
    concepts = ["cat", "bread", "creativity"]
    tokens = concept_tokens(model, concepts)
    assert [token.whole for token in tokens] == [True, True, False]
    assert [token.text for token in tokens][:2] == ["cat", "bread"] and "creativity".startswith(tokens[2].text)
    report = report_content(model, stimuli, tokens, INJECTIONS, directions(model), boosted=5)
    probabilities = lens_by_hand(model, stimuli)
    layers = list(range(len(model.blocks) + 1))
    assert list(report.concepts.columns) == ["vector", "prompt", "token", "layer", "p_base", "p_injected"]
    assert list(report.boosted.columns) == [
        "vector", "prompt", "rank", "token", "p_base", "p_injected", "log_odds_shift",
    ]  # fmt: skip
    cells = [(injection, prompt) for injection in INJECTIONS for prompt in ("no_info", "info")]
    assert len(report.concepts) == len(cells) * len(tokens) * len(layers)
    assert len(report.boosted) == len(cells) * 5
    for number, (injection, prompt) in enumerate(cells):
        base = probabilities(stimuli.content[prompt], None)
        injected = probabilities(stimuli.content[prompt], injection)
        for place, token in enumerate(tokens):
            first = (number * len(tokens) + place) * len(layers)
            rows = report.concepts.iloc[first : first + len(layers)]
            keys = rows[["vector", "prompt", "token", "layer"]].itertuples(index=False, name=None)
            assert list(keys) == [(injection.vector, prompt, token.text, layer) for layer in layers]
            assert rows["p_base"].to_list() == pytest.approx(base[:, token.token_id].tolist(), rel=3e-5)
            assert rows["p_injected"].to_list() == pytest.approx(injected[:, token.token_id].tolist(), rel=3e-5)
        rises = injected[-1] - base[-1]
        best = rises.topk(5)
        for rank, (row, token) in enumerate(
            zip(report.boosted.iloc[5 * number : 5 * number + 5].to_dict("records"), best.indices.tolist(), strict=True)
        ):
            assert (row["vector"], row["prompt"], row["rank"]) == (injection.vector, prompt, rank + 1)
            assert row["token"] == token_text(model, token)
            p, q = float(base[-1, token]), float(injected[-1, token])
            assert (row["p_base"], row["p_injected"]) == (pytest.approx(p, rel=3e-5), pytest.approx(q, rel=3e-5))
            logit = torch.logit(torch.tensor([p, q], dtype=torch.float64))
            assert row["log_odds_shift"] == pytest.approx(float(logit[1] - logit[0]), abs=1e-4)


def test_concepts_that_begin_alike_share_their_rows(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    tokens = concept_tokens(qwen2, ["cat", "cat"])
    report = report_content(qwen2, stimuli, tokens, INJECTIONS[:1], directions(qwen2))
    assert not report.concepts.duplicated(["vector", "prompt", "token", "layer"]).any()


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\\ufffd"), max_size=20))
def test_token_texts_spell_the_text(qwen2: LanguageModel, text: str) -> None:
    """Whole characters as they are, pieces of characters as escapes of their bytes."""
    pieces = [token_text(qwen2, token) for token in qwen2.tokenizer(text, add_special_tokens=False)["input_ids"]]
    spelled = re.sub(rb"\\x([0-9a-f]{2})", lambda escape: bytes([int(escape[1], 16)]), "".join(pieces).encode())
    assert spelled == unicodedata.normalize("NFC", text).encode()  # what this family's tokenizer reads


def test_special_and_partial_tokens_are_shown(qwen2: LanguageModel) -> None:
    assert token_text(qwen2, qwen2.tokenizer.convert_tokens_to_ids("<|im_end|>")) == "<|im_end|>"
    first, *_ = qwen2.tokenizer("是", add_special_tokens=False)["input_ids"]
    assert token_text(qwen2, first) == "\\xe6"


Cells = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["\r", "\n", "\r\n", '"', '""', ",", "\x00", "\u2028", "NA", "", " ", "'", "\ufeff", "#", "\\"]),
)


@given(st.lists(st.tuples(Cells, st.floats(width=32, allow_nan=False, allow_infinity=False), Cells), max_size=6))
def test_tables_of_hostile_text_round_trip(rows: list[tuple[str, float, str]]) -> None:
    text = csv_text(pd.DataFrame(rows, columns=["token", "value", "text"]))
    read = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert read[0] == ["token", "value", "text"]
    assert [(a, float(b), c) for a, b, c in read[1:]] == [(a, pytest.approx(b, rel=1e-8), c) for a, b, c in rows]


def test_missing_values_are_empty_cells() -> None:
    table = pd.DataFrame({"a": [1.5, float("nan")], "b": pd.array([3, None], dtype="Int64"), "c": ["x", ""]})
    assert csv_text(table) == "a,b,c\n1.5,3,x\n,,\n"
