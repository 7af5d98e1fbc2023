"""Every wrong parameter is one line that names the file, the key, what was found and what is allowed."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from introspection.settings import Settings, SettingsError, load_settings
from tests.conftest import ROOT

yaml = YAML(typ="safe")
COMMITTED = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def committed() -> dict[str, Any]:
    return deepcopy(COMMITTED)


def write(tmp_path: Path, values: Any) -> Path:
    path = tmp_path / "params.yaml"
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(values, file)
    return path


def test_the_committed_parameters_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    settings = load_settings(Path("params.yaml"))
    assert settings.models["qwen25-coder-32b"].layers == (21, 42)
    assert settings.models["qwen25-coder-32b"].strength == 20
    contrast = settings.models["qwen25-coder-32b"].contrast
    assert contrast is not None and (contrast.strength, contrast.samples_at) == (10, 20)


WRONG = [
    ("study.concept", ["cat"], r"study\.concept: unknown key; allowed: models, concepts, random_directions, seed"),
    ("models.organism.layer", [2, 5], r"models\.organism\.layer: unknown key; allowed: source, .*layers"),
    (
        "models.organism.contrast.size",
        1,
        r"models\.organism\.contrast\.size: unknown key; allowed: source, adapter, revision, str",
    ),
    (
        "packages.smollm2-135m.sha",
        "0",
        r"packages\.smollm2-135m\.sha: unknown key; allowed: package, version, sha256, member, member_sha256, licence",
    ),
    ("packages.smollm2-135m.version", 0.1, r"packages\.smollm2-135m\.version: found 0\.1; input should be a valid str"),
    ("packages.smollm2-135m.sha256", "F", r"packages\.smollm2-135m\.sha256: found 'F'; string should match pattern"),
    ("packages.smollm2-135m.member", "../x.gguf", r"packages\.smollm2-135m\.member: found .*a relative path inside"),
    ("models.organism.contrast", {"strength": 1.0}, r"models\.organism\.contrast: give either source, .* or adapter"),
    (
        "models.organism.contrast",
        {"source": "a", "adapter": "b", "strength": 1.0},
        r"models\.organism\.contrast: give either source, .* or adapter",
    ),
    ("lenses", {}, r"lenses: unknown key; allowed: study, data, models"),
    ("population.kinds", ["concepts"], r"population\.kinds\.0: found 'concepts'; .*'concept', 'persona', 'random'"),
    (
        "zoo.population.kinds",
        ["concept", "random", "coherent", "covariance", "shared", "centred"],
        r"zoo\.population\.kinds: halves is missing, which the verdict judges by; null is all kinds",
    ),
    ("population.kinds", [], r"population\.kinds: centred is missing, which the verdict judges by"),
    ("models.organism.strength", "forty", r"models\.organism\.strength: found 'forty'; allowed: a finite number"),
    ("models.organism.strength", True, r"models\.organism\.strength: found True; allowed: a finite number"),
    (
        "models.organism.strength",
        float("nan"),
        r"models\.organism\.strength: found nan; allowed: a finite number",
    ),
    ("models.organism.layers", [5, 2], r"models\.organism\.layers: found \[5, 2\]; .*1 <= first <= last"),
    ("models.organism.layers", [0, 2], r"models\.organism\.layers: found \[0, 2\]; .*block 0 has no vector"),
    ("models.organism.layers", [2, 8], r"models\.organism\.layers: found \[2, 8\]; allowed: 1 <= first <= last <= 7"),
    (
        "models.organism.dtype",
        "float8",
        r"models\.organism\.dtype: found 'float8'; .*'float32', 'bfloat16' or 'float16'",
    ),
    ("study.concepts", ["cat", "bread", "cat"], r"study\.concepts: found .*; 'cat' is listed twice"),
    ("study.concepts", [], r"study\.concepts: found \[\]; .*at least 1 item"),
    ("study.concepts", ["cat", "../bread"], r"study\.concepts: .*'\.\./bread' cannot name a vector file"),
    ("study.concepts", ["cat", "persona"], r"study\.concepts: .*'persona' is a name of the study"),
    *(
        ("study.concepts", ["cat", name], rf"study\.concepts: .*'{name}' is a name of the study")
        for name in ("finetune", "random_1", "random", "none", "anything", "anti_persona", "Persona")
    ),
    ("study.concepts", ["cat", "Cat"], r"study\.concepts: .*'Cat' and 'cat' would share a file"),
    ("study.concepts", ["cat", "a" * 300], r"study\.concepts: .*too long for tables and files"),
    (
        "study.concepts",
        ["cat", "abcdefghijklmnopqrstuvwxyz"],
        r"study\.concepts: .*'abcdefghijklmnopqrstuvwxyz' is too lo",
    ),
    ("samples.temperature", 1e-40, r"samples\.temperature: found 1e-40; allowed: 0, greedy, or 0\.01 to 100"),
    ("models.organism.strength", 1e39, r"models\.organism\.strength: found 1e\+39; allowed: a finite number up to 1e9"),
    (
        "models.organism.strength",
        -1e39,
        r"models\.organism\.strength: found -1e\+39; allowed: a finite number up to 1e9",
    ),
    ("content.boosted_tokens", 300, r"content\.boosted_tokens: found 300; input should be less than or equal to 40"),
    ("figures.palette", "rainbows", r"figures\.palette: found 'rainbows'; input should be 'colorblind', 'deep', "),
    ("figures.width", 300, r"figures\.width: found 300; input should be less than or equal to 6\.5"),
    ("figures.width", "wide", r"figures\.width: found 'wide'; input should be a valid number"),
    ("study.models", ["organisms"], r"study\.models names 'organisms', which is no key of models: .*organism-blind"),
    ("study.sign", "most", r"study\.sign: found 'most'; input should be 'majority' or 'mean'"),
    ("suffixes.resamples", 0, r"suffixes\.resamples: found 0; input should be greater than or equal to 1"),
    ("suffixes.confidence", 1.0, r"suffixes\.confidence: found 1\.0; input should be less than 1"),
    ("suffixes.prompts", ["info", "info"], r"suffixes\.prompts: found .*; listed twice: info"),
    ("models", {"gpt-4.1": {}}, r"models\.gpt-4\.1\.source: missing"),
    ("sweep.concepts", ["cat", "dog"], r"sweep\.concepts names 'dog', which is not one of study\.concepts"),
    ("sweep.choose_concept", "love", r"sweep: choose_concept 'love' is not among sweep\.concepts"),
    ("study.seed", 10**23, r"study\.seed: found 1000.*; input should be less than 4294967296"),
    ("models.smollm2-135m.strength", {"of_norm": 1e39}, r"models\.smollm2-135m\.strength: allowed: .* up to 1000"),
    ("models.organism.strength", 1e39, r"models\.organism\.strength: found 1e\+39; allowed: a finite number up to 1e9"),
    ("dose.fractions", [0, 1e30], r"dose\.fractions\.1: found 1e\+30; input should be less than or equal to 1000"),
    (
        "places.fractions",
        [0.1, 1e30],
        r"places\.fractions\.1: found 1e\+30; .*or equal to 1000",
    ),
    ("population.effect.strongest", 1e9, r"population\.effect\.strongest: found 1000000000\.0; .*or equal to 1000"),
    (
        "verdict.order",
        ["answers", "nosuch"],
        r"verdict\.order\.1: found 'nosuch'; .*'answers', 'unasked'",
    ),
    ("verdict.disturbances", ["noise"], r"verdict\.disturbances\.0: found 'noise'; input should be 'concept', "),
    *(
        ("which.concepts", [*"abcdefgh", name], rf"which\.concepts: .*'{re.escape(name)}'")
        for name in ("../x", "none", "random_1", "A")
    ),
    ("engine.tokens_per_batch", 0, r"engine\.tokens_per_batch: found 0; input should be greater than or equal to 1"),
]


@pytest.mark.parametrize(("key", "value", "message"), WRONG)
def test_a_wrong_parameter_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: Any, message: str
) -> None:
    monkeypatch.chdir(ROOT)  # models/organism is looked up from here
    values = committed()
    *sections, name = key.split(".")
    section = values
    for part in sections:
        section = section[part]
    section[name] = value
    path = write(tmp_path, values)
    with pytest.raises(SettingsError) as error:
        load_settings(path)
    lines = str(error.value).splitlines()
    assert any(re.search(message, line) for line in lines), lines
    assert all(line.startswith(f"{path}: ") for line in lines)


def test_a_model_key_with_a_dot_is_refused(tmp_path: Path) -> None:
    values = committed()
    values["models"]["qwen2.5"] = values["models"]["organism"]
    with pytest.raises(SettingsError, match=r"models\.qwen2\.5: .*use letters, digits.*DVC splits names at dots"):
        load_settings(write(tmp_path, values))


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    values = committed()
    values["models"]["organism"]["strength"] = "forty"
    values["lens"]["weak_fraction"] = 2.0
    with pytest.raises(SettingsError) as error:
        load_settings(write(tmp_path, values))
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study: [", "not valid YAML"),
        ("study: {}\nstudy: {}\n", "not valid YAML.*duplicate"),
        ("just words", "found 'just words'; allowed: a mapping"),
    ],
)
def test_what_is_no_parameter_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_settings(tmp_path / "params.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "absent.yaml")


def test_concepts_may_be_words_of_any_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    values = committed()
    values["study"]["concepts"] += (words := ["हिन्दी", "猫", "καλημέρα"])
    assert load_settings(write(tmp_path, values)).study.concepts[-3:] == tuple(words)


DEFAULTS = {
    "DataSettings": {"suffixes", "contrast_prompts"},
    "ModelSettings": {"revision", "device_map", "max_memory", "quantization", "contrast"},
    "ContrastSettings": {"source", "adapter", "revision", "sample_strength"},
}
"""What may be left out, so that a user's own model is one line: nothing of the kind is asked for then. DVC tracks the
key of each, or the section that it is in, and sees where one is written in or taken out."""


def sections(annotation: Any) -> set[type[BaseModel]]:
    """The settings classes in a type, and all below them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        parts = [field.annotation for field in annotation.model_fields.values()]
        return {annotation}.union(*map(sections, parts))
    return set[type[BaseModel]]().union(*map(sections, getattr(annotation, "__args__", ())))


def test_no_setting_has_a_default_but_nothing() -> None:
    found = sections(Settings)
    assert len(found) > 40
    optional = [
        (section.__name__, name, field)
        for section in found
        for name, field in section.model_fields.items()
        if not field.is_required()
    ]
    assert all(field.default is None and field.default_factory is None for _, _, field in optional)
    named = {section: {name for each, name, _ in optional if each == section} for section, _, _ in optional}
    assert named == DEFAULTS
