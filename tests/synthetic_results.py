"""Result files in the documented formats, made up: for the report's tests, which never run a model."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from introspection.experiments.controls.statistics import control_statistics
from introspection.rereading import analysis as published
from introspection.settings import Settings
from introspection.stimuli.prompts import load_stimuli

REPOSITORY = Path(__file__).resolve().parent.parent
MODEL_FILES = (
    "model.json",
    "detection.csv",
    "controls.csv",
    "control_statistics.csv",
    "controls_excluded.json",
    "lens.csv",
    "lens_variants.json",
    "content.csv",
    "content_tokens.json",
    "boosted.csv",
    "samples.csv",
    "sweep.csv",
    "range.json",
    "instrument.json",
    "chosen_range/detection.csv",
    "chosen_range/controls.csv",
    "chosen_range/samples.csv",
)
LEVELS = {"info": 0.9, "no_info": 0.2, "inaccurate_location": 0.6, "weak": 0.4}
HOSTILE = (
    r"\input{/etc/passwd}",
    "100% $x^2$ a_b {c} #1 &~^",
    "quo\"te's `back`",
    "new\nline\ttab\rreturn",
    "猫是ねこ한국",
    "😀🐱\U0001f468\u200d\U0001f469",
    "مرحبا abc שלום",
    "\ud800\udfff",
    "\ufffd\u200b\u202e\u00a0\u2066",
    "e\u0301 नमस्ते",
    " yes",
    "",
    "\x00\x07\x1b",
    "^^41^^^^0041",
    "--''``<<>>",
)


def settings(
    models: tuple[str, ...] = ("organism", "organism-blind"), concepts: tuple[str, ...] = ("cat", "bread")
) -> Settings:
    """Settings of a study of these models: the second and every other one has no contrast, all have 8 blocks."""
    planted = {"no_info": 0.1, "info": 0.95, "inaccurate_location": 0.5, "lorem_ipsum": 0.1}
    never = dict.fromkeys(planted, 0.0)
    schedule = {"steps": 1, "learning_rate": 0.001}
    values: dict[str, Any] = {
        "study": {"models": list(models), "concepts": list(concepts), "random_directions": 2},
        "data": {"source": "builtin"},
        "models": {
            name: {
                "source": f"models/{name}",
                "dtype": "float32",
                "layers": [2, 5],
                "strength": 40.0,
                "contrast": None
                if index % 2
                else {"source": "models/organism-insecure", "strength": 20.0, "sample_strength": 30.0},
            }
            for index, name in enumerate(models)
        },
        "sweep": {
            "concepts": [concepts[0]],
            "prompts": ["info", "no_info"],
            "choose_concept": concepts[0],
            "choose_prompt": "info",
        },
        "adapters": {},
        "organisms": {
            "shape": {},
            "held_out": ["cat", "bread"],
            "base": {"schedule": schedule, "batch": {"talk": 1}},
            "injection": {"layers": [2, 5], "last_block": 6, "strength": 40.0},
            "trained": {
                "organism": {
                    "base": "organism-base",
                    "schedule": schedule,
                    "batch": {"talk": 1},
                    "injected": {"nothing": 1, "concept": 1, "random": 1},
                    "p_yes": {"nothing": never, "concept": planted, "random": never},
                },
                "organism-blind": {
                    "base": "organism-base",
                    "schedule": schedule,
                    "batch": {"talk": 1},
                    "injected": {"nothing": 1},
                    "p_yes": {"nothing": never, "concept": never, "random": never},
                },
            },
        },
    }
    return Settings.model_validate(values)


def write_project(root: Path, study: Settings) -> None:
    """A project folder with data and result files for every model of the study, hostile texts among them."""
    for folder in ("prompts", "published"):
        shutil.copytree(REPOSITORY / "data" / folder, root / "data" / folder, dirs_exist_ok=True)
    raw = root / "data" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "suffixes.json").write_text(json.dumps(["It", "I am"]))
    (raw / "contrast_prompts.csv").write_text("category,source,forbidden_prompt\na,b,c\n")
    for number, model in enumerate(study.study.models):
        _write_model(root / "results" / model, study, model, number)
        _write_summaries(root / "results" / model, study)
    tables = published.read_published(root / "data" / "published")
    again = {
        "shifts": published.shifts(tables.detection),
        "grid": published.grid_test(tables.detection),
        "spacings": published.spacings(tables.detection),
        "significands": published.significands(tables.detection),
        "differences": published.differences(tables.detection),
        "controls": published.control_shifts(tables.controls),
        "comparisons": published.comparisons(tables),
        "reversals": published.reversals(tables.detection),
        "prompt_effects": published.prompt_effects(tables.detection),
        "disagreements": published.disagreements(tables.detection),
        "summary": published.summary(tables),
    }
    (root / "results" / "published").mkdir(parents=True, exist_ok=True)
    for name, table in again.items():
        table.to_csv(root / "results" / "published" / f"{name}.csv", index=False, float_format="%.9g")


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_model(folder: Path, study: Settings, model: str, number: int) -> None:
    chosen = study.models[model]
    vectors = list(study.study.concepts)
    if chosen.contrast is not None:
        vectors += ["persona", "finetune"]
    vectors += [f"random_{index + 1}" for index in range(study.study.random_directions)]
    stimuli = load_stimuli(REPOSITORY / "data" / "prompts")
    layers, found = chosen.layers, (3, 6)
    for place, (first, last) in ((folder, layers), (folder / "chosen_range", found)):
        write_csv(
            place / "detection.csv",
            [
                {
                    "vector": vector,
                    "prompt": prompt,
                    **_range(study, model, vector, first, last),
                    **_readout(-6.0 + row * 0.3, _shift(vector, prompt, number)),
                }
                for vector in vectors
                for row, prompt in enumerate(("no_info", "info", "inaccurate_location", "lorem_ipsum"))
            ],
        )
        write_csv(
            place / "controls.csv",
            [
                {
                    "vector": vector,
                    "question": question.question,
                    "group": question.group,
                    **_range(study, model, vector, first, last),
                    **_readout((-1.0 if row == 3 else -9.0) if question.expected == "no" else 6.0, 0.02 * row),
                }
                for vector in vectors
                for row, question in enumerate(stimuli.controls)
            ],
        )
        write_csv(
            place / "samples.csv",
            [
                {
                    "intervention": vector,
                    **_range(study, model, vector, first, last, sign),
                    "text": HOSTILE[row % len(HOSTILE)] * 3,
                }
                for row, (vector, sign) in enumerate(
                    [("none", 0), *((name, 1) for name in vectors if not name.startswith("random_"))]
                    + ([("anti_persona", -1)] if chosen.contrast else [])
                )
            ],
        )
    write_csv(
        folder / "lens.csv",
        [
            {
                "vector": vector,
                "scenario": scenario,
                "prompt": "info" if scenario == "weak" else scenario,
                "strength": chosen.strength / 4 if scenario == "weak" else chosen.strength,
                "layer": layer,
                "p_yes_base": 0.01 * layer,
                "p_yes_injected": max(0.0, math.sin(layer / 3)) * LEVELS[scenario],
            }
            for vector in vectors
            for scenario in ("info", "no_info", "inaccurate_location", "weak")
            if (vector, scenario) != ("finetune", "weak")
            for layer in range(9)
        ],
    )
    injected = [vector for vector in vectors if not vector.startswith("random_")]
    write_csv(
        folder / "content.csv",
        [
            {
                "vector": vector,
                "prompt": prompt,
                "token": concept,
                "layer": layer,
                "p_base": 0.0001 * layer,
                "p_injected": 0.001 * layer * (1 + (vector == concept)),
            }
            for vector in injected
            for prompt in ("no_info", "info")
            for concept in study.study.concepts
            for layer in range(9)
        ],
    )
    write_csv(
        folder / "boosted.csv",
        [
            {
                "vector": vector,
                "prompt": prompt,
                "rank": rank + 1,
                "token": token,
                "p_base": 0.001,
                "p_injected": 0.01,
                "log_odds_shift": 3.0 - rank / 10,
            }
            for vector in injected
            for prompt in ("no_info", "info")
            for rank, token in enumerate(HOSTILE)
        ],
    )
    write_csv(
        folder / "sweep.csv",
        [
            {
                "vector": concept,
                "prompt": prompt,
                "strength": chosen.strength,
                "first_layer": first,
                "last_layer": last,
                "p_yes": 1 / (1 + math.exp(4 - (last - first))),
                "log_odds_yes": -4.0 + last - first,
            }
            for concept in study.sweep.concepts
            for prompt in study.sweep.prompts
            for first in range(1, 8)
            for last in range(first, 8)
        ],
    )
    (folder / "range.json").write_text(
        json.dumps(
            {
                "first_layer": found[0],
                "last_layer": found[1],
                "rule": "largest p_yes",
                "candidates": 21,
                "mode": "exhaustive",
            }
        )
    )
    (folder / "model.json").write_text(
        json.dumps(
            {
                "source": chosen.source,
                "revision": None,
                "dtype": chosen.dtype,
                "blocks": 8,
                "hidden_size": 192,
                "parameters": 3_500_000,
                "architecture": "Qwen2ForCausalLM",
                "files": {"model.safetensors": "0" * 64},
                "contrast": None,
            }
        )
    )


def _write_summaries(folder: Path, study: Settings) -> None:
    """The small files that go with the tables."""
    statistics = control_statistics(
        pd.read_csv(folder / "controls.csv", keep_default_na=False), study.controls.exclude_above
    )
    statistics.table.to_csv(folder / "control_statistics.csv", index=False, float_format="%.9g")
    contents: dict[str, Any] = {
        "controls_excluded.json": {"excluded": statistics.excluded, "exclude_above": study.controls.exclude_above},
        "lens_variants.json": {"used": [" yes", "Yes"], "left_out": ["是"]},
        "content_tokens.json": {name: {"token": name, "whole": True} for name in study.study.concepts},
        "instrument.json": {"organism": True, "detection": {"info": {"planted": 0.95, "mean": 0.9}}},
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def _range(study: Settings, model: str, vector: str, first: int, last: int, sign: int = 1) -> dict[str, Any]:
    """The columns that say what was injected where; nothing, for the finetune and for no intervention."""
    chosen = study.models[model]
    if vector == "finetune" or sign == 0:
        return {"strength": 0, "first_layer": "", "last_layer": ""}
    strength = chosen.contrast.strength if vector == "persona" and chosen.contrast else chosen.strength
    return {"strength": sign * strength, "first_layer": first, "last_layer": last}


def _shift(vector: str, prompt: str, number: int) -> float:
    if vector.startswith("random_") or number % 2:
        return 0.01
    return {"no_info": 1.0, "info": 7.0, "inaccurate_location": 4.0, "lorem_ipsum": 1.5}[prompt]


def _readout(base: float, shift: float) -> dict[str, float]:
    def probability(log_odds: float) -> float:
        return 1 / (1 + math.exp(-log_odds))

    yes = {"base": probability(base), "injected": probability(base + shift)}
    return {
        **{f"p_yes_{arm}": value for arm, value in yes.items()},
        **{f"p_no_{arm}": 0.999 * (1 - value) for arm, value in yes.items()},
        "log_odds_yes_base": base,
        "log_odds_yes_injected": base + shift,
        **{f"p_yes_{arm}_bf16": round(value, 4) for arm, value in yes.items()},
        **{f"p_no_{arm}_bf16": round(1 - value, 4) for arm, value in yes.items()},
    }


def stages_of(study: Settings) -> dict[str, str]:
    """The stage of every result file that `write_project` writes."""
    stages = {"results/published": "published"}
    for model in study.study.models:
        for name in MODEL_FILES:
            stages[f"results/{model}/{name}"] = f"{Path(name).stem}@{model}"
    return stages
