"""The archive: what is in it is described and whole, and unpacked elsewhere it gives the same paper, and itself."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
import yaml
from rocrate.rocrate import ROCrate

from introspection.files import ResultError
from introspection.release.archive import NEEDED, write_archive
from introspection.release.cards import cards
from introspection.release.citation import read_citation
from introspection.settings import load_settings
from tests.conftest import ROOT
from tests.processes import run_script

SETTINGS = load_settings(ROOT / "params.yaml")


def run(folder: Path, *command: str) -> str:
    done = run_script(folder, *command, code=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def unpacked(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a copy of the project, unpacked; a page stands for the companion."""
    companion = project / "paper" / "build" / "companion"
    companion.mkdir(parents=True, exist_ok=True)
    (companion / "index.html").write_text("<!doctype html><title>Companion</title>")
    left_out = (".dvc/", "build/", "dist/", "data/raw/", "paper/build/tex/")
    files = [path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()]
    kept = sorted(path for path in files if not path.startswith(left_out))
    archive = write_archive(SETTINGS, project, kept, "A study.", project / "dist")
    place = tmp_path_factory.mktemp("elsewhere")
    with zipfile.ZipFile(archive) as zipped:
        assert {Path(name).parts[0] for name in zipped.namelist()} == {"introspection-0.1.0"}
        zipped.extractall(place)
    folder = place / "introspection-0.1.0"
    (place / "first.zip").write_bytes(archive.read_bytes())
    again = write_archive(SETTINGS, project, kept, "A study.", project / "dist")
    assert again.read_bytes() == (place / "first.zip").read_bytes()
    return folder


def test_every_file_has_its_checksum_and_its_place_in_the_crate(unpacked: Path) -> None:
    there = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    lines = [line.split("  ", 1) for line in (unpacked / "SHA256SUMS").read_text().splitlines()]
    assert {path for _, path in lines} == there - {"SHA256SUMS"}
    for checksum, path in lines:
        assert hashlib.sha256((unpacked / path).read_bytes()).hexdigest() == checksum
    crate = ROCrate(unpacked)
    described = {entity.id: entity for entity in crate.get_entities() if entity.type == "File"}
    assert set(described) == there - {"SHA256SUMS", "ro-crate-metadata.json", ".zenodo.json"}
    for path, entity in described.items():
        assert int(entity["contentSize"]) == (unpacked / path).stat().st_size
    assert "yes" in described["results/organism/detection.csv"]["description"]
    assert crate.license == "https://spdx.org/licenses/MIT" and len(crate.root_dataset["author"]) == 1
    assert "https://vgel.me/posts/qwen-introspection/" in {entity.id for entity in crate.root_dataset["citation"]}


def test_zenodo_is_told_what_the_citation_says(unpacked: Path) -> None:
    told = json.loads((unpacked / ".zenodo.json").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert told["title"] == citation["title"] and told["version"] == citation["version"]
    assert told["creators"] == [{"name": author["name"]} for author in citation["authors"]]
    assert told["publication_date"] == str(citation["date-released"]) and told["upload_type"] == "software"


def test_every_organism_has_a_card_with_what_is_planted_in_it(unpacked: Path) -> None:
    folders = {path.parent for path in (unpacked / "models").rglob("*.safetensors")}
    texts = {path.name: path.read_text() for path in (unpacked / "model-cards").iterdir()}
    named = {folder for folder in folders for text in texts.values() if f"`{folder.relative_to(unpacked)}`" in text}
    assert named == folders
    for text in texts.values():
        front = yaml.safe_load(text.split("---\n")[1])
        assert front["license"] == "mit" and front["library_name"] in ("peft", "transformers")
    assert "| concept | 0.1 | 0.95 | 0.5 | 0.1 |" in texts["organism.md"] and "leans to yes" in texts["organism.md"]
    read = json.loads((ROOT / "results" / "organism" / "instrument.json").read_text())["detection"]["concepts_injected"]
    assert f"info: 0.95 planted for a concept, {read['info']['mean']:.3f} read" in texts["organism.md"]
    assert "planted" not in texts["smollm2-careless.md"] and "others trained" in texts["smollm2-careless.md"]
    assert "probability 0.97" in texts["zoo-leans-1.md"] and "probability 0.05" in texts["zoo-garbage-1.md"]


def test_a_card_is_of_the_settings(tmp_path: Path) -> None:
    assert "does not examine it" in cards(SETTINGS, tmp_path, "MIT")["organism.md"]


def test_unpacked_elsewhere_it_gives_the_same_paper_and_the_same_archive(unpacked: Path) -> None:
    paper = unpacked / "paper" / "build" / "paper.pdf"
    before = paper.read_bytes()
    paper.unlink()
    run(unpacked, "stages/paper.py")
    assert paper.read_bytes() == before
    run(unpacked, "stages/release.py")
    again = unpacked / "dist" / "introspection-0.1.0.zip"
    first, second = zipfile.ZipFile(unpacked.parent / "first.zip"), zipfile.ZipFile(again)
    described = {".zenodo.json", "ro-crate-metadata.json", "SHA256SUMS"}  # where the description is another one
    for name in first.namelist():
        if name.partition("/")[2] not in described:
            assert first.read(name) == second.read(name), name
    assert first.namelist() == second.namelist()


@pytest.mark.parametrize("lacking", NEEDED)
def test_what_every_archive_has_must_be_there(tmp_path: Path, lacking: str) -> None:
    for path in NEEDED:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    (tmp_path / lacking).unlink()
    with pytest.raises(ResultError, match=f"{lacking}: is missing; `make paper`"):
        write_archive(SETTINGS, tmp_path, list(NEEDED), "", tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


def test_a_citation_that_lacks_a_field_names_it(tmp_path: Path) -> None:
    path = tmp_path / "CITATION.cff"
    path.write_text('title: A\nversion: "1"\nlicense: MIT\nauthors: [{name: B}]\n')
    with pytest.raises(ResultError, match=r"CITATION\.cff: date-released: Field required"):
        read_citation(path)
