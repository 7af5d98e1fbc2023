"""The page on result files is what the code declares, and has every file that a stage writes."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from introspection.paper.pipeline import output_stages
from tests.conftest import ROOT
from tests.processes import run_script

PAGE = ROOT / "docs" / "result-files.md"


def test_the_page_is_up_to_date(tmp_path: Path) -> None:
    assert run_script(ROOT, "stages/document_tables.py", str(tmp_path / "page.md")).returncode == 0
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8"), "run `make docs`"


def test_every_result_file_is_on_it() -> None:
    pipeline = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    written = [Path(path) for path in output_stages(pipeline, {"study.models": ["m"]}) if path.startswith("results/m/")]
    written += (ROOT / "results" / "published").glob("*.csv")
    text = PAGE.read_text(encoding="utf-8")
    assert written and [path for path in written if path.name not in text] == []
