"""Whatever bytes a file holds: its reader gives a value, or the project's own error, in lines that name the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.population.vectors import load_directions, save_directions
from introspection.files import ResultError, read_json
from introspection.injection.dose import ChosenRange
from introspection.injection.prefills import load_prefills, save_prefills
from introspection.injection.vectors import load_vector
from introspection.model.loading import ModelError
from introspection.settings import SettingsError, load_settings
from introspection.sources.adapters import find_adapter
from introspection.sources.bases import CONFIGURATION, base_of
from introspection.sources.datasets import DataError, read_contrast_prompts, read_suffixes
from introspection.sources.errors import AdapterError
from introspection.stimuli.files import StimuliError
from introspection.stimuli.prompts import Stimuli
from tests.conftest import ROOT, load


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
    place = st.integers(0, len(whole) - 1)
    pieces = st.binary(max_size=12) | st.sampled_from([b"\xff\xfe", b"[" * 5000, b"\0", b"NaN", b"1e999", b"&a *a"])

    # parsing params.yaml takes a third of a second; where a failure is found, no shorter one is sought
    phases = (Phase.explicit, Phase.generate)

    @settings(max_examples=6 if kind == "params" else 40, phases=phases, suppress_health_check=list(HealthCheck))
    @given(st.tuples(place, st.integers(0, 40), pieces) | st.binary(max_size=60))
    @example(b"")
    @example((0, len(whole) // 2, b""))
    @example((len(whole) // 2, len(whole), b""))
    @example((len(whole) // 2, 0, b"\xff\xfe\xfd"))
    def try_bytes(change: tuple[int, int, bytes] | bytes) -> None:
        if isinstance(change, tuple):
            start, length, piece = change
            data = whole[:start] + piece + whole[start + length :]
        else:
            data = change
        path.write_bytes(data)
        try:
            read(path)
        except failure as error:
            lines = str(error).splitlines()
            assert all(str(path.parent) in line for line in lines)
            assert all(len(line) < 2000 for line in lines)

    try_bytes()


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
