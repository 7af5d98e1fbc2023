"""Loading: folders in the hub's layout, and clear errors for what cannot be loaded."""

from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from introspection.config import ContrastSettings, ModelSettings, SettingsError
from introspection.models import LanguageModel, ModelError, identity, load_model, resident
from tests.conftest import load, save_model


def settings_for(source: object, **changes: object) -> ModelSettings:
    values = {"source": str(source), "dtype": "float32", "layers": (1, 2), "strength": 1.0}
    return ModelSettings(**values | changes)


def test_a_sharded_model_with_an_index_and_a_template_file_loads(tmp_path: Path, tokenizer: Tokenizer) -> None:
    whole = load(save_model(tmp_path / "whole", "qwen2", tokenizer))
    folder = save_model(tmp_path / "sharded", "qwen2", tokenizer, shard="50KB")
    assert (folder / "model.safetensors.index.json").is_file() and (folder / "chat_template.jinja").is_file()
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    sharded = load(folder)
    for (name, ours), (_, theirs) in zip(sharded.model.named_parameters(), whole.model.named_parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_weights_are_read_in_the_dtype_asked_for(folders: dict[str, Path]) -> None:
    model = load_model(settings_for(folders["llama"], dtype="bfloat16"))
    assert {parameter.dtype for parameter in model.model.parameters()} == {torch.bfloat16}
    assert model.logits(torch.zeros(2, model.hidden_size)).dtype == torch.float32


def test_the_parts_are_found_in_every_family(any_model: LanguageModel) -> None:
    assert len(any_model.blocks) == 5
    assert any_model.unembedding.weight.shape == (any_model.tokenizer.vocab_size, 32)
    states = torch.randn(3, 32)
    torch.testing.assert_close(any_model.normed(states), any_model.final_norm(states))


def test_a_text_that_is_not_one_token_is_an_error(qwen2: LanguageModel) -> None:
    assert qwen2.tokenizer.decode([qwen2.token(" yes")]) == " yes"
    with pytest.raises(ModelError, match=r"' hippopotamus' is \d+ tokens"):
        qwen2.token(" hippopotamus")


def test_a_range_outside_the_model_is_refused_before_weights_are_read(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["qwen2"], tmp_path / "no-weights")
    (folder / "model.safetensors").unlink()
    with pytest.raises(SettingsError, match=r"found \[2, 5\]; allowed: 1 <= first <= last <= 4"):
        load_model(settings_for(folder, layers=(2, 5)))


def test_what_cannot_be_loaded_is_explained_in_one_line(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"^nobody/nothing: cannot be loaded; check the hub id and the network") as e:
        load_model(settings_for("nobody/nothing"))
    assert "\n" not in str(e.value)
    with pytest.raises(ModelError, match=r"models/missing: cannot be loaded; give a folder"):
        load_model(settings_for("models/missing"))
    pickled = shutil.copytree(folders["qwen2"], tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        load_model(settings_for(pickled))
    silent = shutil.copytree(folders["qwen2"], tmp_path / "silent")
    (silent / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template"):
        load_model(settings_for(silent))
    remote = shutil.copytree(folders["qwen2"], tmp_path / "remote")
    config = json.loads((remote / "config.json").read_text())
    config |= {"model_type": "unheard-of", "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.M"}}
    (remote / "config.json").write_text(json.dumps(config))
    (remote / "code.py").write_text("raise SystemExit('remote code ran')\n")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(settings_for(remote))


def test_identity_tells_models_apart_without_reading_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    found = identity(settings_for(folders["qwen2"]))
    model = load(folders["qwen2"])
    assert found["parameters"] == sum(parameter.numel() for parameter in set(model.model.parameters()))
    assert (found["blocks"], found["hidden_size"]) == (5, 32)
    other = shutil.copytree(folders["qwen2"], tmp_path / "other")
    with (other / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    assert identity(settings_for(other))["files"] != found["files"]


def test_a_resident_model_leaves_memory_when_its_context_ends(folders: dict[str, Path]) -> None:
    with resident(settings_for(folders["qwen2"])) as model:
        weights = [weakref.ref(parameter) for parameter in model.model.parameters()]
        assert len(model.blocks) == 5 and all(weight() is not None for weight in weights)
    assert all(weight() is None for weight in weights)


def test_the_finetune_of_a_model_without_one_is_an_error() -> None:
    contrast = ContrastSettings(source="b", strength=1.0)
    assert settings_for("a", contrast=contrast).finetune().source == "b"
    with pytest.raises(ValueError, match=r"a has no finetune.*params\.yaml"):
        settings_for("a").finetune()
