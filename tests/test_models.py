"""Loading: folders in the hub's layout, and clear errors for what cannot be loaded."""

from __future__ import annotations

import importlib.util
import json
import shutil
import weakref
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from accelerate.utils import OffloadedWeightsLoader
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import ValidationError
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from introspection.engine.run import run_trials
from introspection.engine.trial import Injection, Trial
from introspection.engine.work import count_work
from introspection.injection.answers import ask
from introspection.injection.vectors import concept_vectors, random_vectors
from introspection.model.hooks import replaced_forward
from introspection.model.language_model import LanguageModel, ModelError
from introspection.model.loading import identity, load_config, load_model, resident
from introspection.model.placement import room_for_weights, weight_bytes, without_weights
from introspection.model.readout import read_answers
from introspection.settings import ContrastSettings, ModelSettings, SettingsError, load_settings, local_block_count
from introspection.sources.errors import AdapterError
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Stimuli
from tests.conftest import ROOT
from tests.reference import two_phase_logits
from tests.small_models import load, save_model


def settings_for(source: object, **changes: object) -> ModelSettings:
    values = {"source": str(source), "dtype": "float32", "layers": (1, 2), "strength": 1.0, "filler": "original"}
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
    with pytest.raises(ModelError, match=r"models/missing: there is no such folder; give one"):
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
    with pytest.raises(AttributeError):
        _ = model.blocks


def test_the_finetune_of_a_model_without_one_is_an_error() -> None:
    contrast = ContrastSettings(source="b", strength=1.0)
    assert settings_for("a", contrast=contrast).finetune().source == "b"
    with pytest.raises(ValueError, match=r"a has no finetune.*params\.yaml"):
        settings_for("a").finetune()


class Readings:
    """Counts how often each weight is read from disk, and holds no more of them than are in use."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: Counter[str] = Counter()
        self.in_use: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
        self.most_bytes = 0
        read = OffloadedWeightsLoader.__getitem__

        def counted(loader: OffloadedWeightsLoader, key: str) -> torch.Tensor:
            weight = read(loader, key)
            self.counts[key] += 1
            self.in_use.add(weight)
            self.most_bytes = max(self.most_bytes, sum(each.nbytes for each in self.in_use))
            return weight

        monkeypatch.setattr(OffloadedWeightsLoader, "__getitem__", counted)


def study_trials(model: LanguageModel, stimuli: Stimuli) -> tuple[list[Trial], dict[str, dict]]:
    """Detection, questions after one turn 1, and some ranges, over several batches."""
    directions = {name: vector.directions for name, vector in random_vectors(model, 2, seed=3)}
    arms = [None, Injection("random_1", 4.0, 1, 3), Injection("random_2", 4.0, 2, 6), Injection("random_2", 2.0, 2, 2)]
    texts = [encode(model.tokenizer, stimuli.detection[prompt]) for prompt in ("no_info", "info")]
    texts += [encode(model.tokenizer, stimuli.control_conversation(question)) for question in stimuli.controls[:5]]
    return [Trial(text.token_ids, text.steered, (arm,) if arm else ()) for text in texts for arm in arms], directions


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_weights_that_do_not_fit_are_read_from_disk_once_per_pass(
    tmp_path: Path, tokenizer: Tokenizer, stimuli: Stimuli, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """Twelve blocks of which memory holds less than two; the results are those of the whole model in memory."""
    folder = save_model(tmp_path / family, family, tokenizer, num_hidden_layers=12, shard="100KB")
    whole = load(folder)
    of_a_block = sum(weight.nbytes for weight in whole.blocks[0].parameters())
    limit = {"cpu": f"{2 * of_a_block // 1000}KB"}
    small = load_model(settings_for(folder, max_memory=limit))
    offloaded = [name for name, weight in small.model.named_parameters() if weight.device.type == "meta"]
    assert sum("layers." in name for name in offloaded) >= 10 / 12 * sum(
        "layers." in n for n, _ in whole.model.named_parameters()
    )
    assert small.device == torch.device("cpu")

    trials, directions = study_trials(whole, stimuli)
    monkeypatch.setattr("introspection.engine.memory.SLICE", 1000)  # several slices a pass
    readings = Readings(monkeypatch)
    states = run_trials(small, trials, directions, tokens_per_batch=4000)
    work = count_work(trials, 12, 4000)
    blocks = {name: count for name, count in readings.counts.items() if "layers." in name}
    assert set(blocks) == {name for name in offloaded if "layers." in name}
    assert set(blocks.values()) == {work.passes} and work.passes > 3
    assert readings.most_bytes < 3 * of_a_block or readings.most_bytes <= whole.unembedding.weight.nbytes
    torch.testing.assert_close(
        states, run_trials(whole, trials, directions, tokens_per_batch=4000), atol=1e-5, rtol=1e-5
    )

    last = states[:, -1]
    torch.testing.assert_close(small.normed(last), whole.normed(last), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(small.logits(last), whole.logits(last), atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(
        read_answers(small, last, " yes", " no").values(),
        read_answers(whole, last, " yes", " no").values(),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_weights_in_host_memory_give_the_same(folders: dict[str, Path], stimuli: Stimuli) -> None:
    whole, moved = load(folders["qwen2"]), load(folders["qwen2"])
    cpu_offload(moved.model, execution_device=torch.device("cpu"))
    assert next(moved.blocks.parameters()).device.type == "meta" and moved.device == torch.device("cpu")
    trials, directions = study_trials(whole, stimuli)
    expected = run_trials(whole, trials, directions)
    states = run_trials(moved, trials, directions)
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(moved.logits(states[:, -1]), whole.logits(expected[:, -1]), atol=1e-5, rtol=1e-5)


def test_a_limit_on_memory_is_checked_before_anything_is_loaded() -> None:
    assert settings_for("m", max_memory={0: "20GiB", "cpu": "1.5 GB"}).max_memory == {0: "20GiB", "cpu": "1.5 GB"}
    for wrong in ({"gpu": "20GiB"}, {0: "much"}, {0: 20}, {-1: "20GiB"}):
        with pytest.raises(ValidationError, match="max_memory"):
            settings_for("m", max_memory=wrong)


def test_weights_leave_room_for_a_large_batch_where_they_do_not_fit() -> None:
    assert room_for_weights(60, [100]) == [90]
    assert room_for_weights(64, [24]) == [12]
    assert room_for_weights(64, [40, 40]) == [36, 36]


def test_packed_weights_take_the_memory_of_their_bits(folders: dict[str, Path]) -> None:
    whole = without_weights(load_config(settings_for(folders["qwen2"])))
    sizes = [weight_bytes(whole, settings_for(folders["qwen2"], quantization=q)) for q in (None, "8bit", "4bit")]
    linear = sum(weight.numel() for name, weight in whole.named_parameters() if "proj.weight" in name)
    assert sizes == [4 * whole.num_parameters(), sizes[0] - 3 * linear, sizes[0] - 4 * linear + linear * 4.5 / 8]


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_packed_weights_answer_as_the_two_phase_procedure_on_the_same(stimuli: Stimuli, quantization: str) -> None:
    """And nearly as the whole weights do. Packed maps round what goes through them, not alike in every batch."""
    own = load_settings(ROOT / "params.yaml").models["organism"]
    own = own.model_copy(update={"source": str(ROOT / own.source), "revision": None})
    whole, packed = load_model(own), load_model(own.model_copy(update={"quantization": quantization}))
    maps = [module for module in packed.blocks.modules() if isinstance(module, torch.nn.Linear)]
    assert maps and all(module.weight.dtype in (torch.int8, torch.uint8) for module in maps)
    suffixes = json.loads((ROOT / "data" / "builtin" / "suffixes.json").read_text(encoding="utf-8"))[:100]
    vectors = dict(concept_vectors(whole, stimuli, ["cat"], suffixes))
    directions = {name: vector.directions for name, vector in vectors.items()}
    cat = Injection("cat", own.strength, *own.layers)
    tables = [
        ask(model, stimuli, stimuli.detection, [cat], directions)[["p_yes_base", "p_yes_injected"]].to_numpy()
        for model in (whole, packed)
    ]
    expected = []
    for conversation in stimuli.detection.values():
        for strength in (0.0, own.strength):
            logits = two_phase_logits(packed, conversation, vectors["cat"], strength, own.layers)
            expected.append(float(logits.softmax(-1)[packed.token(" yes")]))
    np.testing.assert_allclose(tables[1].ravel(), expected, atol=0.01)
    np.testing.assert_allclose(tables[1], tables[0], atol=0.05)


def test_logits_that_a_family_scales_in_a_way_not_known_are_refused(folders: dict[str, Path]) -> None:
    loaded = load(folders["llama"])
    loaded.check_unembedding()
    loaded.model.register_forward_hook(lambda _model, _inputs, output: replace(output, logits=3 * output.logits))
    with pytest.raises(ModelError, match="not supported"):
        loaded.check_unembedding()
    assert "forward" not in vars(loaded.backbone)


def test_a_replaced_forward_is_put_back_whatever_was_there_before() -> None:
    module = torch.nn.Linear(2, 2)
    whole, state = module(torch.ones(1, 2)), torch.ones(1, 2)

    def doubled(inputs: torch.Tensor) -> torch.Tensor:
        return 2 * inputs

    with replaced_forward(module, doubled):
        with pytest.raises(ZeroDivisionError), replaced_forward(module, lambda inputs: 1 // 0):
            module(state)
        assert torch.equal(module(state), 2 * state)  # the outer one, which the inner one had found there
    assert "forward" not in vars(module) and torch.equal(module(state), whole)


def test_quantization_without_its_library_says_what_to_install(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "bitsandbytes" else find(name, *a)
    )
    with pytest.raises(ModelError, match=r"bitsandbytes.*pip install") as raised:
        load_model(settings_for(folders["qwen2"], quantization="8bit"))
    assert "\n" not in str(raised.value)
    assert identity(settings_for(folders["qwen2"], quantization="8bit"))["quantization"] == "8bit"


LORA = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}


def save_lora(folder: Path, base: str, weights_from: Path) -> Path:
    """A random LoRA for a model, in PEFT's format, that says it changes `base`."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(weights_from, dtype=torch.float32)
    wrapped = get_peft_model(model, LoraConfig(**LORA, init_lora_weights=False))
    wrapped.save_pretrained(folder)
    rewritten(folder, base_model_name_or_path=base)
    (folder / "README.md").unlink(missing_ok=True)
    return folder


def rewritten(folder: Path, **values: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def adapter(tmp_path: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> str:
    """An adapter in models/ of a model in models/, as this repository has them."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folders["qwen2"], "models/base")
    return str(save_lora(Path("models/changed"), "models/base", folders["qwen2"]))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_folder_with_an_adapter_loads_as_the_plain_model_that_it_makes(adapter: str, dtype: str) -> None:
    """The same weights as PEFT's own merging in float32, cast afterwards."""
    base = AutoModelForCausalLM.from_pretrained("models/base", dtype=torch.float32)
    merged = PeftModel.from_pretrained(base, adapter).merge_and_unload()
    loaded = load_model(settings_for(adapter, dtype=dtype))
    own = dict(loaded.model.named_parameters())
    assert set(own) == {name for name, _ in merged.named_parameters()}
    for name, expected in merged.named_parameters():
        assert torch.allclose(own[name].float(), expected.to(own[name].dtype).float(), atol=1e-7), name
        assert own[name].dtype == getattr(torch, dtype) and not own[name].requires_grad
    tokens = torch.tensor([[7, 80, 900]])
    if dtype == "float32":
        plain = load_model(settings_for("models/base")).model(tokens).logits
        with torch.no_grad():
            assert torch.allclose(loaded.model(tokens).logits, merged(tokens).logits, atol=1e-5)
        assert not torch.allclose(loaded.model(tokens).logits, plain, atol=1e-2)
    assert loaded.name == adapter


def test_an_adapter_is_known_by_its_files_and_by_those_of_its_base(adapter: str) -> None:
    own, base = identity(settings_for(adapter)), identity(settings_for("models/base"))
    assert own["source"] == adapter and "adapter_model.safetensors" in own["files"]
    assert own["base"] == {"source": "models/base", "files": base["files"]}
    assert own["blocks"] == base["blocks"] and own["parameters"] == base["parameters"]
    assert "base" not in base


def test_the_layers_of_an_adapter_are_checked_against_its_base(adapter: str) -> None:
    assert local_block_count(Path(adapter)) == 5
    with pytest.raises(SettingsError, match=r"1 <= first <= last <= 4"):
        load_config(settings_for(adapter, layers=(1, 5)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base_model_name_or_path": "models/gone"}, r"is an adapter of models/gone, and there is no such folder"),
        ({"base_model_name_or_path": None}, r"adapter_config\.json: names no base_model_name_or_path"),
        ({"base_model_name_or_path": "models/changed"}, r"which is an adapter itself; merge and save that one first"),
        ({"peft_type": "IA3", "target_modules": ["q_proj"]}, r"is an adapter of the kind .*IA3; only LORA"),
        ({"bias": "all"}, r"changes whole weights besides its low-rank maps"),
        ({"target_modules": ["q_proj", "up_proj"]}, r"models/changed: does not fit models/base"),
    ],
)
def test_an_adapter_that_cannot_be_merged_is_one_clear_line(adapter: str, values: dict, message: str) -> None:
    rewritten(Path(adapter), **values)
    with pytest.raises(AdapterError, match=message) as caught:
        load_model(settings_for(adapter))
    assert "\n" not in str(caught.value)


def test_an_adapter_whose_weights_are_missing_or_are_to_be_quantised_is_one_clear_line(adapter: str) -> None:
    with pytest.raises(ModelError, match="cannot be merged into quantised weights; set quantization: null"):
        load_model(settings_for(adapter, quantization="8bit"))
    (Path(adapter) / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"has no adapter_model\.safetensors"):
        load_model(settings_for(adapter))
