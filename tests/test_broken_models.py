"""Models whose files are not what they should be: one line that names the folder and what is wrong, never a number."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from introspection.model.language_model import ModelError
from introspection.model.loading import load_config, load_model, load_tokenizer
from introspection.settings import ModelSettings
from introspection.sources.errors import SourceError


def settings_for(source: str | Path, **changes: Any) -> ModelSettings:
    values: dict[str, Any] = {"dtype": "float32", "layers": (1, 2), "strength": 1.0, "filler": "original"} | changes
    return ModelSettings(source=str(source), **values)


@pytest.fixture
def broken(folders: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(folders["llama"], tmp_path / "broken")


def tensors(change: Callable[[dict[str, Tensor]], Any]) -> Callable[[Path], Any]:
    """A change of a model's tensors by name."""

    def apply(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return apply


def entry(key: str, value: Any, file: str = "config.json") -> Callable[[Path], Any]:
    """A change of one entry of a model's configuration."""

    def apply(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    return apply


def cut(file: str, length: int) -> Callable[[Path], Any]:
    return lambda folder: (folder / file).write_bytes((folder / file).read_bytes()[:length])


NORM = "model.layers.2.input_layernorm.weight"
EMBEDDING = "model.embed_tokens.weight"
BROKEN = {
    "a tensor lost": (tensors(lambda w: w.pop(NORM)), f"broken: its weights lack tensors .*{NORM}"),
    "fewer blocks": (entry("num_hidden_layers", 4), r"broken: .* has no place for: model\.layers\.4\."),
    "more blocks": (entry("num_hidden_layers", 6), r"broken: its weights lack tensors .*model\.layers\.5\."),
    "another shape": (entry("intermediate_size", 96), r"broken: .* of another shape .*model\.layers\.0\.mlp"),
    "NaN": (tensors(lambda w: w[NORM].fill_(torch.nan)), f"broken: the weights {NORM} hold NaN"),
    "NaN embedding": (tensors(lambda w: w[EMBEDDING][7].fill_(torch.nan)), f"broken: the weights {EMBEDDING} hold NaN"),
    "a short embedding": (entry("vocab_size", 100), r"broken: .* of another shape"),
    "no number": (entry("hidden_size", "wide"), r"broken: cannot be loaded; give a folder"),
    "a scale that is no number": (entry("logit_scale", "x"), r"broken: cannot be loaded; give a folder"),
    "no weights": (cut("model.safetensors", 0), r"broken: cannot be loaded; .*"),
    "cut weights": (cut("model.safetensors", 3000), r"broken: cannot be loaded; .*"),
    "cut tokenizer": (cut("tokenizer.json", 300), r"broken: cannot be loaded; .*"),
    "no JSON": (cut("config.json", 60), r"broken: cannot be loaded; .*"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), r"broken: .*"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_model_is_one_line_that_names_it(broken: Path, what: str) -> None:
    change, message = BROKEN[what]
    change(broken)
    with pytest.raises((ModelError, SourceError), match=message) as error:
        load_model(settings_for(broken))
    assert "\n" not in str(error.value)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(broken: Path) -> None:
    def shorten(weights: dict[str, Tensor]) -> None:
        weights[EMBEDDING] = weights[EMBEDDING][:100].clone()
        weights["lm_head.weight"] = weights["lm_head.weight"][:100].clone()

    tensors(shorten)(broken)
    entry("vocab_size", 100)(broken)
    with pytest.raises(ModelError, match=r"broken: its tokenizer has tokens up to number \d+, .* an embedding for 100"):
        load_model(settings_for(broken))


def test_a_device_that_is_not_there_is_told(folders: dict[str, Path]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ModelError, match="device_map asks for a device that this machine has not"):
        load_model(settings_for(folders["qwen2"], device_map="cuda:0"))


@pytest.mark.parametrize("source", ["models/misspelt", "./weights", "/no/such/folder", "a/b/c", "has space/x"])
def test_a_folder_that_is_not_there_is_not_sought_on_the_hub(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("socket.socket", None)  # whoever asks the network fails otherwise
    begun = time.monotonic()
    for load in (load_config, load_tokenizer):
        with pytest.raises(ModelError, match=f"^{source}: there is no such folder; give one"):
            load(settings_for(source))
    assert time.monotonic() - begun < 2
