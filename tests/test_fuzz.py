"""Whatever bytes a file holds: its reader gives a value, or the project's own error, in lines that name the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.population.vectors import load_directions, save_directions
from introspection.files import ResultError, read_json
from introspection.injection.dose import ChosenRange
from introspection.injection.prefills import load_prefills, save_prefills
from introspection.injection.vectors import load_vector
from introspection.model.language_model import ModelError
from introspection.model.loading import identity, load_model, load_tokenizer
from introspection.settings import ModelSettings, SettingsError, load_settings, local_block_count
from introspection.sources.adapters import find_adapter
from introspection.sources.bases import CONFIGURATION, base_of
from introspection.sources.datasets import DataError, read_contrast_prompts, read_suffixes
from introspection.sources.errors import AdapterError, SourceError
from introspection.sources.templates import ChatTemplateError
from introspection.stimuli.chat import encode
from introspection.stimuli.files import StimuliError
from introspection.stimuli.prompts import Stimuli, Turn
from introspection.terminal import printable
from tests.conftest import ROOT
from tests.small_models import load, save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def tensors_of_directions(path: Path) -> None:
    vector = load_vector(ROOT / "results" / "organism" / "vectors" / "cat.gguf")
    save_directions({"cat": vector.directions}, path)


def wholes(folder: Path) -> dict[str, tuple[bytes, str, Callable[[Path], Any], type[ValueError]]]:
    """By kind of file: one that is whole, its name, what reads it, and what that may raise."""
    made = {"directions": folder / "d.safetensors", "prefills": folder / "p.safetensors"}
    tensors_of_directions(made["directions"])
    save_prefills({}, made["prefills"])

    def committed(path: str) -> bytes:
        return (ROOT / path).read_bytes()

    def detection(path: Path) -> Any:
        return Stimuli(path.parent).detection

    results = "results/organism"
    return {
        "params": (committed("params.yaml"), "params.yaml", load_settings, SettingsError),
        "prompts": (committed("data/prompts/detection.yaml"), "detection.yaml", detection, StimuliError),
        "table": (committed(f"{results}/detection.csv")[:4000], "detection.csv", DETECTION.read, ResultError),
        "json": (committed(f"{results}/range.json"), "range.json", lambda p: read_json(p, ChosenRange), ResultError),
        "suffixes": (committed("data/builtin/suffixes.json")[:600], "suffixes.json", read_suffixes, DataError),
        "contrast": (committed("data/builtin/contrast_prompts.csv"), "c.csv", read_contrast_prompts, DataError),
        "adapter": (
            committed("models/organism-blind/adapter_config.json"),
            "adapter_config.json",
            lambda path: base_of(str(path.parent)),
            AdapterError,
        ),
        "vector": (committed(f"{results}/vectors/cat.gguf"), "vectors/cat.gguf", load_vector, ResultError),
        "directions": (made["directions"].read_bytes(), "organism.safetensors", load_directions, ResultError),
        "prefills": (made["prefills"].read_bytes(), "organism.safetensors", load_prefills, ResultError),
    }


KINDS = ("params", "prompts", "table", "json", "suffixes", "contrast", "adapter", "vector", "directions", "prefills")


@pytest.mark.parametrize("kind", KINDS)
def test_any_bytes_are_a_value_or_a_line_that_names_the_file(kind: str, folder: Path) -> None:
    whole, name, read, failure = wholes(folder)[kind]
    path = folder / kind / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(whole)
    if kind not in ("table", "suffixes"):  # of these a part is enough
        read(path)
    hold(
        whole, path, lambda: read(path), failure, 6 if kind == "params" else 40
    )  # params.yaml takes a third of a second


def hold(
    whole: bytes,
    path: Path,
    read: Callable[[], Any],
    failure: type[Exception] | tuple[type[Exception], ...],
    examples: int,
    within: int | None = None,
) -> None:
    """Read a file with a piece of it changed (before the byte `within`), and with other bytes altogether."""
    place = st.integers(0, (within or len(whole)) - 1)
    pieces = st.binary(max_size=12) | st.sampled_from([b"\xff\xfe", b"[" * 5000, b"\0", b"NaN", b"1e999", b"&a *a"])

    # where a failure is found, no shorter one is sought
    phases = (Phase.explicit, Phase.generate)

    @settings(max_examples=examples, phases=phases, suppress_health_check=list(HealthCheck))
    @given(st.tuples(place, st.integers(0, 40), pieces) | st.binary(max_size=60))
    @example(b"")
    @example((0, len(whole) // 2, b""))
    @example((len(whole) // 2, len(whole), b""))
    @example((len(whole) // 2, 0, b"\xff\xfe\xfd"))
    @example((1, 9, b"\x1e\x85\x0b"))  # which end lines too
    def try_bytes(change: tuple[int, int, bytes] | bytes) -> None:
        if isinstance(change, tuple):
            start, length, piece = change
            data = whole[:start] + piece + whole[start + length :]
        else:
            data = change
        path.write_bytes(data)
        try:
            read()
        except failure as error:
            lines = printable(str(error)).splitlines()  # as a stage shows it
            assert all(str(path.parent) in line for line in lines)
            assert all(len(line) < 2000 for line in lines)

    try_bytes()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer knows bytes alone."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin|>", "<|eot|>"]
    letters = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    plain = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return save_model(tmp_path_factory.mktemp("tiny") / "tiny", "llama", plain)


def opened(folder: Path, weights: bool = False) -> None:
    """What stages do with a model's folder."""
    own = ModelSettings(source=str(folder), dtype="float32", layers=(1, 2), strength=1.0, filler="original")
    local_block_count(folder)
    if weights:
        load_model(own)
    identity(own)
    encode(load_tokenizer(own), [Turn(role="user", content="Say cat.")])


MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "model.safetensors")
MODEL_FAILURES = (ModelError, SourceError, SettingsError, ChatTemplateError)


@pytest.mark.parametrize("name", MODEL_FILES)
def test_any_bytes_in_a_model_folder_are_a_model_or_a_line_that_names_it(name: str, tiny: Path, tmp_path: Path) -> None:
    path = shutil.copytree(tiny, tmp_path / "model") / name
    weights = name == "model.safetensors"
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little") if weights else None
    opened(path.parent, weights)
    hold(whole, path, lambda: opened(path.parent, weights), MODEL_FAILURES, 24, header)


MODEL_DAMAGES = [
    ("config.json", "[]"),
    ("config.json", '{"text_config": null}'),
    ("config.json", "[" * 100_000),
    ("config.json", {"num_attention_heads": 0}),
    ("config.json", {"vocab_size": 0}),
    ("config.json", {"num_hidden_layers": 0}),
    ("config.json", {"dtype": "float99"}),
    ("config.json", {"model_type": "resnet"}),
    ("config.json", {"text_config": [1]}),
    ("tokenizer_config.json", {"model_max_length": {}}),
    ("tokenizer.json", "[" * 100_000),
    ("chat_template.jinja", "{% for"),
    ("chat_template.jinja", "{{ " + "(" * 1000 + ")" * 1000 + " }}"),
    ("chat_template.jinja", "{% if 1 %}" * 1000 + "{% endif %}" * 1000),
    ("chat_template.jinja", "{% include 'other' %}"),
    ("chat_template.jinja", "{{ 1 / 0 }}"),
    ("chat_template.jinja", "{{ messages['a'] + 1 }}"),
]


@pytest.mark.parametrize(("name", "content"), MODEL_DAMAGES)
def test_a_damage_to_a_model_is_one_line_and_of_that_model_alone(
    name: str, content: str | dict[str, Any], tiny: Path, tmp_path: Path
) -> None:
    path = shutil.copytree(tiny, tmp_path / "model") / name
    if isinstance(content, dict):
        content = json.dumps(json.loads(path.read_text()) | content)
    path.write_text(content)
    assert local_block_count(path.parent) in (5, None)
    for weights in (False, True):
        with pytest.raises(MODEL_FAILURES) as error:
            opened(path.parent, weights)
        assert str(path.parent) in str(error.value) and "\n" not in str(error.value)
        assert "device_map" not in str(error.value)


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
BOMBS = {
    "aliases that stand for billions": (BOMB, "its aliases stand for more than"),
    "an alias of itself": ("study: &a [*a]\n", "its aliases stand for more than"),
    "ten megabytes": (f"study: {{concepts: ['{'a' * 10_000_000}']}}\n", "bytes are too many"),
    "nested without end": ("[" * 2_000, "not valid YAML"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_yaml_bomb_is_refused_at_once(bomb: str, tmp_path: Path) -> None:
    text, told = BOMBS[bomb]
    for path, read, failure in (
        (tmp_path / "params.yaml", load_settings, SettingsError),
        (tmp_path / "detection.yaml", lambda path: Stimuli(path.parent).detection, StimuliError),
    ):
        path.write_text(text)
        with pytest.raises(failure, match=f"{path}: .*{told}"):
            read(path)


def test_parameters_in_another_encoding_are_told(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes((ROOT / "params.yaml").read_bytes() + "# é\n".encode("latin-1"))
    with pytest.raises(SettingsError, match=f"{path}: not UTF-8 text .*save it as UTF-8"):
        load_settings(path)


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000])
def test_a_name_that_is_too_long_for_a_folder_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / CONFIGURATION).write_text(json.dumps({"base_model_name_or_path": name}))
    with pytest.raises(AdapterError, match=f"{tmp_path}: is an adapter of {name[:300]}, and there is no such folder"):
        base_of(str(tmp_path))
    assert base_of(name) is None
    with pytest.raises(AdapterError, match="there is no such folder"):
        find_adapter(name)
    with pytest.raises(ModelError, match="there is no such folder"):
        load(Path(name))


def test_json_of_another_shape_is_told(tmp_path: Path) -> None:
    path = tmp_path / "suffixes.json"
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match=f"{path}: not JSON"):
        read_suffixes(path)
    path.write_text(json.dumps(["a", 1]))
    with pytest.raises(DataError, match=f"{path}: wanted: a JSON list of strings"):
        read_suffixes(path)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
@pytest.mark.parametrize("form", [object, dict[str, Any], dict[str, float]])
def test_a_number_that_is_not_finite_is_refused_whatever_form_is_asked(number: str, form: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(f'{{"norm": {number}}}')
    with pytest.raises(ResultError, match=f"{path}: not valid JSON: {number} is no finite number; make it anew"):
        read_json(path, form, "make it anew")
