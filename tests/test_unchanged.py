"""A model's files that are not those of its model.json any more: refused where it is loaded, and cheaply found out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from introspection.files import read_json
from introspection.sources import unchanged
from introspection.sources.errors import SourceError
from introspection.sources.gguf import sha256_of
from introspection.sources.provenance import provenance
from introspection.sources.unchanged import Recorded, check_unchanged, kept_checksum
from tests.conftest import ROOT
from tests.processes import run_script
from tests.small_models import save_model


def recorded(folder: Path, **more: Recorded) -> Recorded:
    return Recorded(str(folder), files=provenance(str(folder), None)["files"], **more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files as a model has them."""
    made = tmp_path / "model"
    made.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (made / name).write_text(f"this is {name}")
    return made


def overwrite(path: Path) -> None:
    """Other bytes in a file, of which size and time of change stay what they were."""
    before = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "overwritten": (lambda f: overwrite(f / "model.safetensors"), r"model/model\.safetensors: has changed since"),
    "gone": (lambda f: (f / "tokenizer.json").unlink(), r"model/tokenizer\.json: is gone since"),
    "new": (lambda f: (f / "chat_template.jinja").touch(), r"model/chat_template\.jinja: is new since"),
    "all gone": (shutil.rmtree, r"model/config\.json: is gone since"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("place", ["model", "base"])
def test_a_file_that_is_not_the_one_written_down_is_named(
    folder: Path, tmp_path: Path, change: str, place: str
) -> None:
    written = recorded(folder)
    if place == "base":
        adapter = tmp_path / "adapter"
        adapter.mkdir()
        written = recorded(adapter, base=written)
    checksum = kept_checksum(tmp_path / "kept")
    check_unchanged(written, checksum, "read")
    (folder / ".DS_Store").touch()
    check_unchanged(written, checksum, "read")
    alter, message = CHANGES[change]
    alter(folder)
    with pytest.raises(SourceError, match=message):
        check_unchanged(written, checksum, "read")


def test_of_a_gguf_file_only_the_file_itself_counts(folder: Path, tmp_path: Path) -> None:
    path = folder / "weights.gguf"
    path.write_text("GGUF of some kind")
    written, checksum = Recorded(str(path), files={path.name: sha256_of(path)}), kept_checksum(tmp_path / "kept")
    overwrite(folder / "config.json")
    check_unchanged(written, checksum, "read")
    overwrite(path)
    with pytest.raises(SourceError, match=f"{path}: has changed since"):
        check_unchanged(written, checksum, "read")
    path.unlink()
    with pytest.raises(SourceError, match=f"{path}: no such file"):
        check_unchanged(written, checksum, "read")


def test_an_unchanged_file_is_read_once_and_a_changed_one_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(unchanged, "sha256_of", lambda path: asked.append(path.name) or sha256_of(path))
    monkeypatch.setattr(unchanged, "_SETTLED", -1)
    checksum = kept_checksum(tmp_path / "kept")
    path = folder / "model.safetensors"
    found = [checksum(path), kept_checksum(tmp_path / "kept")(path), checksum(path)]
    assert found == 3 * [sha256_of(path)] and len(asked) == 1
    overwrite(path)
    assert checksum(path) == sha256_of(path) != found[0] and len(asked) == 2
    for kept in (tmp_path / "kept").iterdir():
        kept.write_bytes(kept.read_bytes()[:40])  # as of a run that was killed
    assert checksum(path) == checksum(path) == sha256_of(path) and len(asked) == 3
    assert kept_checksum(tmp_path / "kept", anew=True)(path) == sha256_of(path) and len(asked) == 4


def test_what_was_written_a_moment_ago_is_not_kept(folder: Path, tmp_path: Path) -> None:
    """It may be written again within the same tick of the clock."""
    kept_checksum(tmp_path / "kept")(folder / "config.json")
    assert not (tmp_path / "kept").exists()


OWN = "dtype: float32, layers: [1, 3], strength: 4, filler: original"


@pytest.fixture
def study(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A checkout with a model and its finetune in folders of the user's own, which the stage `model` has seen."""
    for name in ("tiny", "finetune"):
        save_model(tmp_path / "own" / name, "qwen2", tokenizer)
    own = f"source: {tmp_path}/own/tiny, {OWN}, contrast: {{source: {tmp_path}/own/finetune, strength: 4}}"
    text = (ROOT / "params.yaml").read_text().replace("\nmodels:\n", f"\nmodels:\n  tiny: {{{own}}}\n", 1)
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "data").symlink_to(ROOT / "data")
    (checkout / "params.yaml").write_text(text)
    done = run_script(checkout, ROOT / "stages" / "model.py", "tiny")
    assert done.returncode == 0, done.stderr
    return checkout


@pytest.mark.parametrize("which", ["tiny", "finetune"])
def test_a_stage_refuses_weights_that_changed_since_the_model_was_written_down(study: Path, which: str) -> None:
    stages = ROOT / "stages"
    assert run_script(study, stages / "prompts.py", "tiny").returncode == 0
    path = study.parent / "own" / which / "model.safetensors"
    overwrite(path)
    done = run_script(study, stages / "prompts.py", "tiny")
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {path}: has changed since its model was written down in results/tiny/model")
    assert "`dvc repro -f -s model@tiny`" in done.stderr and done.stderr.count("\n") == 1
    before = json.loads((study / "results/tiny/model.json").read_text())
    assert run_script(study, stages / "model.py", "tiny").returncode == 0
    after = json.loads((study / "results/tiny/model.json").read_text())
    assert before != after  # so that what depends on it is measured anew
    assert run_script(study, stages / "prompts.py", "tiny").returncode == 0


def test_another_source_than_the_one_written_down_is_not_held_against_it(study: Path) -> None:
    """DVC has the stage `model` look at it first."""
    overwrite(study.parent / "own" / "tiny" / "config.json")
    shutil.move(study.parent / "own" / "finetune", study.parent / "own" / "other")
    params = study / "params.yaml"
    params.write_text(params.read_text().replace("/own/tiny", "/own/other").replace("/own/finetune", "/own/other"))
    done = run_script(study, ROOT / "stages" / "prompts.py", "tiny")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("key", ["organism", "smollm2-135m"])
def test_what_was_committed_says_what_is_there(key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    written = read_json(Path("results", key, "model.json"), Recorded)
    if not Path(written.source).is_dir():
        pytest.skip("not fetched here")
    check_unchanged(written, kept_checksum(tmp_path), "read")
