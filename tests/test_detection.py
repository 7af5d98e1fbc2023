"""Detection tables against the study's two-phase procedure, and the readout against arithmetic done by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer

from introspection.engine.cache import Prefill
from introspection.engine.trial import Injection
from introspection.injection.answers import ask
from introspection.injection.dose import doses
from introspection.injection.finetune import finetune_prefills
from introspection.injection.prefills import load_prefills, save_prefills
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel
from introspection.model.readout import bfloat16_softmax, log_odds, read_answers
from introspection.settings import ModelSettings, load_settings
from introspection.stimuli.prompts import Stimuli
from introspection.tables import READOUT, names_of
from tests.conftest import ROOT
from tests.reference import two_phase_logits
from tests.small_models import load, save_model

INJECTIONS = [Injection("random_1", 4.0, 1, 3), Injection("random_2", 2.0, 2, 2)]


@pytest.fixture(scope="module")
def pair(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer
) -> tuple[ModelSettings, LanguageModel]:
    """A model's settings with a finetune of it, and that finetune loaded."""
    folder = save_model(tmp_path_factory.mktemp("finetune"), "qwen2", tokenizer, seed=5)
    settings = ModelSettings.model_validate(
        {
            "source": str(folders["qwen2"]),
            "dtype": "float32",
            "layers": [1, 3],
            "strength": 4.0,
            "filler": "original",
            "contrast": {"source": str(folder), "strength": 2.0},
        }
    )
    return settings, load(folder)


def by_hand(logits: torch.Tensor, yes: int, no: int) -> dict[str, float]:
    """The readout in float64, from logits over the whole vocabulary."""
    values = np.exp(logits.double().numpy() - float(logits.max()))
    values /= values.sum()
    rest = np.delete(values, yes).sum()
    return {"p_yes": values[yes], "p_no": values[no], "log_odds_yes": float(np.log(values[yes]) - np.log(rest))}


def rounded(values: np.ndarray) -> np.ndarray:
    """float32 to the nearest bfloat16, ties to even, by its bits."""
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def test_every_row_equals_the_two_phase_procedure(
    qwen2: LanguageModel, stimuli: Stimuli, pair: tuple[ModelSettings, LanguageModel], tmp_path: Path
) -> None:
    settings, finetune = pair
    vectors = dict(random_vectors(qwen2, 2, seed=3))
    save_prefills(finetune_prefills(settings, stimuli.detection), tmp_path / "turn_1.safetensors")
    table = ask(
        qwen2,
        stimuli,
        stimuli.detection,
        INJECTIONS,
        {name: vector.directions for name, vector in vectors.items()},
        load_prefills(tmp_path / "turn_1.safetensors"),
    )
    assert list(table.columns) == ["vector", "prompt", "strength", "first_layer", "last_layer", *names_of(READOUT)]
    expected_keys = [
        (vector, prompt) for vector in ("random_1", "random_2", "finetune") for prompt in stimuli.detection
    ]
    assert list(zip(table["vector"], table["prompt"], strict=True)) == expected_keys
    yes, no = qwen2.token(stimuli.yes), qwen2.token(stimuli.no)
    arms = {injection.vector: injection for injection in INJECTIONS}
    for row in table.to_dict("records"):
        conversation = stimuli.detection[row["prompt"]]
        base = two_phase_logits(qwen2, conversation, None)
        if row["vector"] == "finetune":
            assert pd.isna(row["strength"]) and pd.isna(row["first_layer"]) and pd.isna(row["last_layer"])
            injected = two_phase_logits(qwen2, conversation, None, other=finetune)
        else:
            arm = arms[row["vector"]]
            layers = (row["first_layer"], row["last_layer"])
            assert (row["strength"], *layers) == (arm.strength, arm.first_layer, arm.last_layer)
            injected = two_phase_logits(qwen2, conversation, vectors[arm.vector], arm.strength, layers)
        assert abs(row["log_odds_yes_injected"] - row["log_odds_yes_base"]) > 1e-3, "the injection does something"
        for name, logits in (("base", base), ("injected", injected)):
            for quantity, value in by_hand(logits, yes, no).items():
                assert row[f"{quantity}_{name}"] == pytest.approx(value, rel=2e-5)
            for quantity, token in (("p_yes", yes), ("p_no", no)):
                found = row[f"{quantity}_{name}_bf16"]
                assert found == rounded(np.array([found]))[0], "a bfloat16 number"
                assert found != row[f"{quantity}_{name}"]
                coarse = by_hand(torch.tensor(rounded(logits.numpy())), token, no)["p_yes"]
                assert found == pytest.approx(coarse, rel=2**-6)  # a last bit of a logit may fall the other way


def test_the_bfloat16_figures_are_a_softmax_rounded_twice() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 6 * torch.randn(50, 30, generator=generator)
    coarse = rounded(logits.numpy()).astype(np.float64)
    exponentials = np.exp(coarse - coarse.max(axis=-1, keepdims=True))
    expected = rounded(exponentials / exponentials.sum(axis=-1, keepdims=True))
    assert np.array_equal(bfloat16_softmax(logits).numpy(), expected)
    assert float(bfloat16_softmax(torch.tensor([[0.0, 5.5]]))[0, 1]) == 255 / 256  # the study's 99.609%


def test_log_odds_are_exact_where_probabilities_are_not() -> None:
    logits = torch.tensor([[0.0, 40.0, -60.0]])
    assert torch.softmax(logits, dim=-1)[0, 1] == 1
    assert float(log_odds(logits, 1)) == pytest.approx(40.0)
    assert float(log_odds(logits, 2)) == pytest.approx(-100.0)


def test_reading_many_rows_equals_reading_each(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    states = torch.randn(150, qwen2.hidden_size, generator=torch.Generator().manual_seed(1))
    together = read_answers(qwen2, states, stimuli.yes, stimuli.no)
    for row in (0, 63, 64, 149):
        alone = read_answers(qwen2, states[row : row + 1], stimuli.yes, stimuli.no)
        for name in ("p_yes", "p_no", "log_odds_yes"):
            torch.testing.assert_close(together[name][row : row + 1], alone[name])


def test_a_prefill_of_another_prompt_is_refused(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    stale = Prefill((1, 2, 3), (), ())
    with pytest.raises(ValueError, match=r"another turn 1 than that of 'info'.*prefill"):
        ask(qwen2, stimuli, {"info": stimuli.detection["info"]}, [], {}, {"info": stale})
    with pytest.raises(ValueError, match=r"not read turn 1 of 'info'.*prefill"):
        ask(qwen2, stimuli, {"info": stimuli.detection["info"]}, [], {}, {"no_info": stale})


def test_the_persona_vector_has_its_own_strength(pair: tuple[ModelSettings, LanguageModel]) -> None:
    dose = doses(pair[0], load_settings(ROOT / "params.yaml").sweep).questions
    assert dose.injections(["cat", "persona"]) == [Injection("cat", 4.0, 1, 3), Injection("persona", 2.0, 1, 3)]
    assert dose.within((2, 4)).injections(["cat"]) == [Injection("cat", 4.0, 2, 4)]
    bare = doses(pair[0].model_copy(update={"contrast": None}), load_settings(ROOT / "params.yaml").sweep).questions
    with pytest.raises(ValueError, match="give it a `contrast`"):
        bare.injections(["persona"])
