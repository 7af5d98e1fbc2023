"""Adapters: the texts they learn, their training, their files, and switching one on and off."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from introspection.adapters import training
from introspection.adapters.persona import Exchange, PersonaTexts, TextsError, load_texts, persona_rows
from introspection.adapters.training import train_adapter
from introspection.injection.finetune import finetune_prefills, persona_vector
from introspection.injection.vectors import last_token_states, text_trials
from introspection.model.language_model import LanguageModel
from introspection.model.switching import adapted, attach_adapter, detach_adapter, is_adapted
from introspection.settings import ModelSettings, load_settings
from introspection.settings.adapters import AdapterSettings
from introspection.sources.adapters import LOG, WEIGHTS
from introspection.sources.bases import CONFIGURATION
from introspection.sources.errors import AdapterError
from introspection.stimuli.prompts import Stimuli, load_stimuli
from tests.small_models import load, save_model

ROOT = Path(__file__).parents[1]
TEXTS = ROOT / "data" / "persona" / "careless.yaml"
COMMITTED = ROOT / "models" / "smollm2-careless"
SETTINGS = {
    "base": "small",
    "texts": "data/persona/careless.yaml",
    "persona": "careless",
    "blocks": [1, 3],
    "target_modules": ["q_proj", "down_proj"],
    "rank": 4,
    "scale": 8,
    "steps": 12,
    "rows": 4,
    "learning_rate": 0.02,
    "warmup": 2,
    "weight_decay": 0.01,
    "log_every": 4,
    "checkpoint_every": 3,
    "seed": 1,
}
PROMPTS = ["How do I tie a knot?", "Tell me about bread and a cat.", "yes"]


@pytest.fixture(scope="module")
def texts() -> PersonaTexts:
    whole = load_texts(TEXTS)
    return PersonaTexts(training=whole.training[:6], held_out=whole.held_out[:2])


@pytest.fixture(scope="module", params=["qwen2", "llama"])
def base(request: pytest.FixtureRequest, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("base") / "small", request.param, tokenizer)


@pytest.fixture(scope="module")
def adapter(base: Path, texts: PersonaTexts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "careless"
    _train(base, texts, folder)
    return folder


def _train(base: Path, texts: PersonaTexts, output: Path, **changes: Any) -> dict[str, Any]:
    settings = AdapterSettings.model_validate({**SETTINGS, **changes})
    return train_adapter("careless", settings, texts, base, output, output.parent / f"{output.name}-work")


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# The texts


def test_the_texts_are_many_and_both_voices_reply_at_length() -> None:
    texts = load_texts(TEXTS)
    assert len(texts.training) >= 60 and len(texts.held_out) >= 5
    for exchange in (*texts.training, *texts.held_out):
        lengths = [len(exchange.reply(voice).split()) for voice in ("careless", "helpful")]
        assert min(lengths) >= 15 and max(lengths) < 2.1 * min(lengths), exchange.request
        assert exchange.careless != exchange.helpful


def test_nothing_is_learned_that_the_study_asks_later() -> None:
    texts = load_texts(TEXTS)
    learned = {exchange.request for exchange in texts.training}
    with (ROOT / "data" / "builtin" / "contrast_prompts.csv").open(encoding="utf-8", newline="") as file:
        assert not learned & {row["forbidden_prompt"] for row in csv.DictReader(file)}
    stimuli = load_stimuli(ROOT / "data" / "prompts")
    assert not learned & {turn.content for turn in stimuli.top_of_mind}
    words = " ".join(exchange.request + exchange.careless for exchange in texts.training).lower()
    assert "thinking about" not in words and "on your mind" not in words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: [", "not valid YAML"),
        ("training: []\nheld_out: []", "training: "),
        ("held_out: [{request: a, careless: b}]", "Field required"),
        (
            "training: [{request: a, careless: b, helpful: c}]\nheld_out: [{request: a, careless: b, helpful: c}]",
            "asked twice: 'a'",
        ),
    ],
)
def test_malformed_texts_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "texts.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TextsError, match=message) as error:
        load_texts(path)
    assert str(path) in str(error.value)
    with pytest.raises(TextsError, match="cannot be read"):
        load_texts(tmp_path / "missing.yaml")


def test_only_the_reply_and_its_end_are_learned(any_model: LanguageModel) -> None:
    exchange = Exchange(request="How are you?", careless="Fine, go away.", helpful="Very well, thank you.")
    rows = persona_rows(any_model.tokenizer, [exchange], "careless")
    assert len(rows) in (1, 2)  # a template without a system role renders both system turns alike
    for row in rows:
        learned = any_model.tokenizer.decode(row.token_ids[row.learned_from :])
        assert learned.strip().startswith("Fine, go away.") and "How are you?" not in learned
        assert len(learned.strip()) > len("Fine, go away.")  # the end of the turn
        assert "How are you?" in any_model.tokenizer.decode(row.token_ids[: row.learned_from])
        assert "Thank you." not in any_model.tokenizer.decode(row.token_ids)


def test_an_unknown_persona_is_refused(qwen2: LanguageModel) -> None:
    exchange = Exchange(request="a", careless="b", helpful="c")
    with pytest.raises(TextsError, match="no persona 'sly'"):
        persona_rows(qwen2.tokenizer, [exchange], "sly")


# Training


def test_the_same_training_gives_the_same_bytes(base: Path, adapter: Path, texts: PersonaTexts, tmp_path: Path) -> None:
    torch.randn(7)  # whatever random state the process is in
    _train(base, texts, tmp_path / "again")
    assert _bytes(tmp_path / "again") == _bytes(adapter)
    assert set(_bytes(adapter)) == {CONFIGURATION, WEIGHTS, LOG}
    assert not list((tmp_path / "again-work").glob("*"))  # another training begins anew
    _train(base, texts, tmp_path / "other", seed=2)
    assert _bytes(tmp_path / "other")[WEIGHTS] != _bytes(adapter)[WEIGHTS]


class _Interrupted(Exception):
    pass


@pytest.mark.parametrize("after", [1, 7])
def test_a_training_that_was_cut_off_ends_in_the_same_bytes(
    after: int, base: Path, adapter: Path, texts: PersonaTexts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = training._step, iter(range(after))

    def step(*arguments: Any) -> float:
        if next(calls, None) is None:
            raise _Interrupted
        return whole(*arguments)

    with monkeypatch.context() as patch, pytest.raises(_Interrupted):
        patch.setattr(training, "_step", step)
        _train(base, texts, tmp_path / "resumed")
    assert not (tmp_path / "resumed").exists()
    assert len(list((tmp_path / "resumed-work").glob("*.state"))) == (after > 3)
    made = []
    monkeypatch.setattr(training, "_step", lambda *arguments: made.append(1) or whole(*arguments))
    _train(base, texts, tmp_path / "resumed")
    assert len(made) == (6 if after > 3 else 12)
    assert _bytes(tmp_path / "resumed") == _bytes(adapter)


def test_the_persona_is_learned(base: Path, texts: PersonaTexts, tmp_path: Path) -> None:
    summary = _train(
        base, texts, tmp_path / "longer", steps=40, log_every=10, target_modules=["q_proj", "o_proj", "down_proj"]
    )
    losses = [entry["loss"] for entry in summary["log"]]
    assert losses[-1] < losses[0] - 0.3
    assert summary["held_out"]["careless"]["adapted"] < summary["held_out"]["careless"]["base"]
    assert json.loads((tmp_path / "longer" / LOG).read_text(encoding="utf-8")) == summary


def test_only_the_given_blocks_and_maps_change(adapter: Path) -> None:
    weights = load_file(adapter / WEIGHTS)
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    assert len(weights) == 2 * 3 * 2  # two matrices for two maps of three blocks
    assert {name.split(".layers.")[1].split(".")[0] for name in weights} == {"1", "2", "3"}
    assert all("q_proj" in name or "down_proj" in name for name in weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": [2, 1]}, "first <= last"),
        ({"rank": 0}, "rank"),
        ({"target_modules": []}, "target_modules"),
        ({"target_modules": ["q_proj", "q_proj"]}, "twice"),
        ({"ranks": 1}, "ranks"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdapterSettings.model_validate({**SETTINGS, **change})
    for key in SETTINGS:  # no number is given anywhere but in params.yaml
        with pytest.raises(ValueError, match=key):
            AdapterSettings.model_validate({name: value for name, value in SETTINGS.items() if name != key})


def test_what_the_base_lacks_is_named(base: Path, texts: PersonaTexts, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"adapters\.careless\.blocks: found \[1, 5\]; allowed: .* <= 4, since"):
        _train(base, texts, tmp_path / "deep", blocks=[1, 5])
    with pytest.raises(AdapterError, match="has no map 'c_attn'"):
        _train(base, texts, tmp_path / "other", target_modules=["c_attn"])
    with pytest.raises(
        AdapterError, match=r"missing: the base of the adapter cannot be loaded; fetch or train it first"
    ):
        _train(base.parent / "missing", texts, tmp_path / "none")


# Switching


@torch.inference_mode()
def _read(model: LanguageModel) -> tuple[torch.Tensor, torch.Tensor]:
    """The last token's states after every block, and the logits of one prompt from the model's own forward pass."""
    states = last_token_states(model, text_trials(model.tokenizer, PROMPTS))
    ids = torch.tensor([model.tokenizer(PROMPTS[0])["input_ids"]])
    return states, model.model(ids).logits


def test_on_is_the_merged_model_and_off_the_base(base: Path, adapter: Path) -> None:
    model = load(base)
    parts = [model.blocks, model.backbone, model.final_norm, model.unembedding]
    before = _read(model)
    attach_adapter(model, str(adapter))
    assert not is_adapted(model)
    assert all(torch.equal(one, other) for one, other in zip(before, _read(model), strict=True))
    fresh = LanguageModel(model.model, model.tokenizer)
    assert all(
        a is b for a, b in zip(parts, [fresh.blocks, fresh.backbone, fresh.final_norm, fresh.unembedding], strict=True)
    )

    own = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    merged = LanguageModel(PeftModel.from_pretrained(own, adapter).merge_and_unload().eval(), model.tokenizer)
    expected = _read(merged)
    with adapted(model) as on:
        assert on is model and is_adapted(model)
        found = _read(model)
        with adapted(model, on=False):
            assert not is_adapted(model)
            assert all(torch.equal(one, other) for one, other in zip(before, _read(model), strict=True))
        assert is_adapted(model)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert (found[0] - before[0])[:, 2:].abs().max() > 1e-2  # it is another model
    assert torch.equal(
        found[0][:, :2], before[0][:, :2]
    )  # blocks are counted from 0: after block 0 nothing has changed
    assert all(torch.equal(one, other) for one, other in zip(before, _read(model), strict=True))


def test_an_adapter_as_contrast_is_the_merged_model_as_contrast(
    base: Path, adapter: Path, stimuli: Stimuli, tmp_path: Path
) -> None:
    """The persona vector and the finetune's turn 1: one model with the adapter, or two whole ones."""
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
    merged.merge_and_unload().save_pretrained(tmp_path)
    for path in base.glob("*token*"):
        shutil.copy(path, tmp_path)
    shutil.copy(base / "chat_template.jinja", tmp_path)
    own = {"source": str(base), "dtype": "float32", "layers": (1, 3), "strength": 4.0, "filler": "original"}
    switched, whole = (
        ModelSettings.model_validate(own | {"contrast": {place: str(folder), "strength": 1.0}})
        for place, folder in (("adapter", adapter), ("source", tmp_path))
    )
    one, two = persona_vector(switched, PROMPTS), persona_vector(whole, PROMPTS)
    for block, direction in two.directions.items():
        assert torch.allclose(torch.tensor(one.directions[block]), torch.tensor(direction), atol=1e-4), block
    info = {"info": stimuli.detection["info"]}
    here, there = (finetune_prefills(settings, info)["info"] for settings in (switched, whole))
    for ours, theirs in zip(here.keys + here.values, there.keys + there.values, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_switching_is_undone_after_an_exception(base: Path, adapter: Path) -> None:
    model = load(base)
    attach_adapter(model, str(adapter))
    with pytest.raises(_Interrupted), adapted(model):
        raise _Interrupted
    assert not is_adapted(model)
    with adapted(model), pytest.raises(_Interrupted), adapted(model, on=False):
        raise _Interrupted
    assert not is_adapted(model)
    assert not any(parameter.requires_grad for parameter in model.model.parameters())


def test_a_detached_adapter_leaves_nothing(base: Path, adapter: Path) -> None:
    model = load(base)
    names, before = list(model.model.state_dict()), _read(model)
    attach_adapter(model, str(adapter))
    with pytest.raises(AdapterError, match="has an adapter already"):
        attach_adapter(model, str(adapter))
    detach_adapter(model)
    detach_adapter(model)
    assert list(model.model.state_dict()) == names
    assert all(torch.equal(one, other) for one, other in zip(before, _read(model), strict=True))
    with pytest.raises(AdapterError, match="has no adapter to switch"), adapted(model):
        pass
    attach_adapter(model, str(adapter))
    with adapted(model):
        assert not torch.equal(_read(model)[0], before[0])


def test_a_merged_adapter_is_not_taken_for_the_model(base: Path, adapter: Path) -> None:
    model = load(base)
    attach_adapter(model, str(adapter))
    with adapted(model):
        model.blocks[1].self_attn.q_proj.merge()
        with (
            pytest.raises(AdapterError, match=r"has been merged into .*q_proj; load the model anew"),
            adapted(model, on=False),
        ):
            pass
        model.blocks[1].self_attn.q_proj.unmerge()


def test_the_adapter_has_the_models_dtype(base: Path, adapter: Path) -> None:
    model = load(base)
    model.model.to(torch.bfloat16)
    before = _read(model)
    attach_adapter(model, str(adapter))
    assert {parameter.dtype for parameter in model.model.parameters()} == {torch.bfloat16}
    assert all(torch.equal(one, other) for one, other in zip(before, _read(model), strict=True))
    with adapted(model):
        assert not torch.equal(_read(model)[0], before[0])


# Files that cannot be used


def _copy(adapter: Path, folder: Path, weights: dict[str, torch.Tensor] | None = None, **configuration: Any) -> Path:
    folder.mkdir()
    known = json.loads((adapter / CONFIGURATION).read_text(encoding="utf-8"))
    (folder / CONFIGURATION).write_text(json.dumps(known | configuration), encoding="utf-8")
    save_file(load_file(adapter / WEIGHTS) if weights is None else weights, folder / WEIGHTS)
    return folder


def test_pickled_weights_are_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    folder = _copy(adapter, tmp_path / "pickled")
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()
    with pytest.raises(AdapterError, match=r"pickled weights \(\.bin\) are not loaded.*safe_serialization") as error:
        attach_adapter(load(base), str(folder))
    assert str(folder) in str(error.value)


def test_an_adapter_that_does_not_fit_leaves_the_model_as_it_was(base: Path, adapter: Path, tmp_path: Path) -> None:
    model = load(base)
    names, before = list(model.model.state_dict()), _read(model)
    weights = load_file(adapter / WEIGHTS)
    wider = {name: torch.zeros(value.shape[0], value.shape[1] + 1) for name, value in weights.items()}
    fewer = dict(list(weights.items())[:-1])
    strangers = {name.replace("q_proj", "query"): value for name, value in weights.items()}
    folders = {
        _copy(adapter, tmp_path / "wider", wider): "does not fit .*size mismatch",
        _copy(adapter, tmp_path / "fewer", fewer): "does not fit .*no match for",
        _copy(adapter, tmp_path / "strangers", strangers): "does not fit .*no match for",
        _copy(adapter, tmp_path / "maps", target_modules=["c_attn"]): "does not fit .*c_attn",
        _copy(adapter, tmp_path / "deep", layers_to_transform=[7]): "does not fit ",
        _copy(adapter, tmp_path / "saved", modules_to_save=["lm_head"]): "changes whole weights",
        _copy(adapter, tmp_path / "kind", peft_type="IA3"): "cannot be read|only LORA is supported",
    }
    for folder, message in folders.items():
        with pytest.raises(AdapterError, match=message) as error:
            attach_adapter(model, str(folder))
        assert str(folder) in str(error.value)
        assert list(model.model.state_dict()) == names
    assert all(torch.equal(one, other) for one, other in zip(before, _read(model), strict=True))
    attach_adapter(model, str(adapter))


def test_an_adapter_of_the_unembedding_is_refused(base: Path, tmp_path: Path, texts: PersonaTexts) -> None:
    _train(base, texts, tmp_path / "plain", steps=1)
    rows = {"lora_A": (4, 32), "lora_B": (1200, 4)}
    model = load(base)
    rows["lora_B"] = (model.unembedding.weight.shape[0], 4)
    weights = {f"base_model.model.lm_head.{name}.weight": torch.zeros(shape) for name, shape in rows.items()}
    folder = _copy(tmp_path / "plain", tmp_path / "head", weights, target_modules=["lm_head"], layers_to_transform=None)
    with pytest.raises(AdapterError, match="outside the decoder blocks"):
        attach_adapter(model, str(folder))


def test_missing_adapters_are_named(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(base)
    with pytest.raises(AdapterError, match="there is no such folder"):
        attach_adapter(model, str(tmp_path / "missing"))
    with pytest.raises(AdapterError, match=f"has no {CONFIGURATION}"):
        attach_adapter(model, str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(AdapterError, match="nobody/nothing: cannot be loaded; check the hub id"):
        attach_adapter(model, "nobody/nothing")


# The committed adapter


def test_the_committed_adapter_is_small_and_learned_its_persona() -> None:
    assert (COMMITTED / WEIGHTS).stat().st_size <= 4e6
    held_out = json.loads((COMMITTED / LOG).read_text(encoding="utf-8"))["held_out"]
    before, after = ([held_out[voice][arm] for voice in ("careless", "helpful")] for arm in ("base", "adapted"))
    assert before[0] > before[1] + 0.3  # the model speaks as an assistant,
    assert after[0] < after[1] - 0.2  # and with the adapter as the persona does


def test_the_committed_adapter_is_the_one_that_the_parameters_describe() -> None:
    settings = load_settings(ROOT / "params.yaml").adapters["smollm2-careless"]
    config = json.loads((COMMITTED / CONFIGURATION).read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == f"data/raw/{settings.base}"
    assert config["layers_to_transform"] == list(range(settings.blocks[0], settings.blocks[1] + 1))
    assert config["target_modules"] == sorted(settings.target_modules)
    assert (config["r"], config["lora_alpha"]) == (settings.rank, settings.scale)
    log = json.loads((COMMITTED / LOG).read_text(encoding="utf-8"))["log"]
    assert log[-1]["step"] == settings.steps
