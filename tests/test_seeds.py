"""An organism trained anew from other seeds, and what the report says of its lens."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from introspection.experiments.lens.tables import LENS
from introspection.experiments.seeds.organism import lens_of_seed
from introspection.experiments.seeds.report import values_of_all
from introspection.paper.render import Renderer
from introspection.paper.results import Results
from introspection.settings import SettingsError, load_settings
from introspection.sources.datasets import read_suffixes
from introspection.stimuli.prompts import Stimuli
from tests.conftest import ROOT
from tests.processes import run_script

SETTINGS = load_settings(ROOT / "params.yaml")
SUFFIXES = read_suffixes(ROOT / "data" / "builtin" / "suffixes.json")
KEYS = ["vector", "scenario", "prompt", "layer"]


def test_the_first_organism_read_this_way_is_what_the_study_has_measured(stimuli: Stimuli) -> None:
    study = SETTINGS.study.model_copy(update={"concepts": ("cat",), "random_directions": 1})
    small = SETTINGS.model_copy(update={"study": study})
    found = lens_of_seed(small, ROOT / "models" / "organism", stimuli, SUFFIXES).set_index(KEYS)
    assert set(found.index.unique("vector")) == {"cat", "random_1"}
    measured = LENS.read(ROOT / "results" / "organism" / LENS.name).set_index(KEYS).loc[found.index]
    for column in ("strength", "p_yes_base", "p_yes_injected"):
        assert (found[column] - measured[column]).abs().max() < 1e-4


def test_a_model_that_the_study_lacks_is_named(stimuli: Stimuli) -> None:
    without = SETTINGS.model_copy(update={"models": {}})
    with pytest.raises(SettingsError, match=r"organisms\.again\.organism: models\.organism must be there"):
        lens_of_seed(without, ROOT / "models" / "organism", stimuli, SUFFIXES)


def test_its_stages_train_another_organism_for_each_seed(tmp_path: Path) -> None:
    (tmp_path / "data" / "raw").mkdir(parents=True)
    for name in ("organism", "prompts"):
        (tmp_path / "data" / name).symlink_to(ROOT / "data" / name)
    (tmp_path / "data" / "raw" / "suffixes.json").write_text('["", "I", "Well,", "So I"]')
    values = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    organisms = values["organisms"]
    organisms["shape"] |= {"blocks": 6, "hidden_size": 32, "heads": 2, "intermediate_size": 32}
    for recipe in (organisms["base"], organisms["trained"]["organism"]):
        recipe["schedule"] |= {"steps": 1}
        recipe["batch"] |= {"talk": 2, "full": 0, "excerpt": 1, "generic": 0, "thinking": 0, "controls": 0}
    organisms["injection"] |= {"topics": 8, "suffixes": 2}
    values["study"] |= {"concepts": ["cat"]}
    for section in ("dose", "sweep", "places"):
        values[section] |= {"concepts": ["cat"]}
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(values, file)
    tables, weights = [], []
    for seed in ("1", "2"):
        for stage in ("train_again.py", "lens_again.py"):
            done = run_script(tmp_path, ROOT / "stages" / stage, seed)
            assert done.returncode == 0, done.stderr[-2000:]
        tables.append(LENS.read(tmp_path / "results" / "again" / seed / LENS.name))
        weights.append((tmp_path / "models" / "again" / f"organism-{seed}" / "model.safetensors").read_bytes())
    assert set(tables[0]["layer"]) == set(range(7)) and len(tables[0]) == len(tables[1]) == (1 + 4) * 5 * 7
    assert (tables[0]["p_yes_base"] != tables[1]["p_yes_base"]).all()
    assert not list((tmp_path / "build" / "training").rglob("*.safetensors"))
    assert weights[0] != weights[1]


def lens(base: list[float], injected: list[float], weak: list[float]) -> pd.DataFrame:
    """The curves of one concept under all of a strength and under a quarter of it."""
    rows = [
        {"vector": "cat", "scenario": scenario, "prompt": "info", "strength": strength, "layer": layer}
        | {"p_yes_base": below, "p_yes_injected": above}
        for scenario, strength, curve in (("info", 60.0, injected), ("weak", 15.0, weak))
        for layer, (below, above) in enumerate(zip(base, curve, strict=True))
    ]
    return pd.DataFrame(rows)


def test_the_report_counts_the_seeds_that_show_a_hill_or_a_threshold(tmp_path: Path, stimuli: Stimuli) -> None:
    curves = {
        1: ([0.0, 0.3, 0.01], [0.0, 0.5, 0.9], [0.0, 0.1, 0.5]),
        2: ([0.0, 0.02, 0.01], [0.0, 0.4, 0.8], [0.0, 0.4, 0.75]),
    }
    paths = {}
    for seed, curve in curves.items():
        path = f"results/again/{seed}/{LENS.name}"
        LENS.write(lens(*curve), tmp_path / path)
        paths[path] = f"lens-again@{seed}"
    results = Results(tmp_path, paths)

    def values_of(*seeds: int) -> dict[str, str]:
        again = SETTINGS.organisms.again.model_copy(update={"seeds": seeds})
        settings = SETTINGS.model_copy(update={"organisms": SETTINGS.organisms.model_copy(update={"again": again})})
        return values_of_all(Renderer(results, stimuli, ROOT / "paper" / "templates", tmp_path), settings)

    values = values_of(1, 2)
    assert (values["seeds.many"], values["seeds.hill"], values["seeds.organism"]) == (
        "two other seeds",
        "in one of two",
        "organism",
    )
    assert (values_of(1)["seeds.many"], values_of(1)["seeds.hill"]) == ("one other seed", "again")
    assert values_of(2)["seeds.hill"] == "no longer"
    thresholds = [values_of(*seeds)["seeds.threshold"] for seeds in ((1, 2), (1,), (2,))]
    assert thresholds == ["in one of two", "no longer", "again"]
    assert values_of() == {}
    assert values["seeds.shown"].count(r"\%") == 4 and "after layer 1 (" in values["seeds.shown"]
