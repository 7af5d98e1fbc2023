"""Result files in the documented formats, made up: for the report's tests, which never run a model."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from introspection import names
from introspection.experiments.battery.statistics import battery_fit, battery_phrasings
from introspection.experiments.battery.tables import BATTERY, FIT, PHRASINGS
from introspection.experiments.competence.statistics import competence, unsteered
from introspection.experiments.competence.tables import COMPETENCE
from introspection.experiments.controls.statistics import control_statistics
from introspection.experiments.population.statistics import summary
from introspection.experiments.population.tables import MATCHINGS, POPULATION, SUMMARY
from introspection.experiments.suffixes.intervals import suffix_intervals
from introspection.experiments.suffixes.resampling import bootstrap_kinds
from introspection.experiments.suffixes.tables import INTERVALS
from introspection.experiments.verdict.evidence import TESTS
from introspection.experiments.verdict.tables import VERDICT
from introspection.files import write_json
from introspection.injection.dose import CALIBRATION, QUESTIONS, REPLIES, Calibration, Dose
from introspection.rereading.analysis import read_again, read_published
from introspection.settings import Settings
from introspection.stimuli.prompts import Stimuli, load_stimuli

REPOSITORY = Path(__file__).resolve().parent.parent
MODEL_FILES = (
    "model.json",
    "residual_norms.csv",
    "dose.csv",
    CALIBRATION,
    QUESTIONS,
    REPLIES,
    "detection.csv",
    "controls.csv",
    "control_statistics.csv",
    "controls_excluded.json",
    "competence.csv",
    "competence.json",
    "battery.csv",
    "battery_fit.csv",
    "battery_phrasings.csv",
    "sign_audit.csv",
    "suffix_detection.csv",
    "suffix_intervals.csv",
    "filler.json",
    "prompt_tokens.csv",
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
    "population.csv",
    "population_summary.csv",
    "verdict.csv",
    "verdict.json",
    "framing.csv",
    "places.csv",
)
LEVELS = {"info": 0.9, "no_info": 0.2, "inaccurate_location": 0.6, names.WEAK: 0.4}
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
    "-" * 96,
    r"\directlua{os.execute('touch ran')}\immediate\write18{touch ran}",
    "</script><script>alert(1)</script>{{ 7 * 7 }}<% raise %>",
    "$(touch ran) `touch ran` ; touch ran",
    "../../../ran",
)


def settings(
    models: tuple[str, ...] = ("organism", "organism-blind"), concepts: tuple[str, ...] = ("cat", "bread")
) -> Settings:
    """The repository's settings for a study of these models: the second and every other one has no contrast."""
    values: dict[str, Any] = YAML(typ="safe").load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    values["study"] |= {"models": list(models), "concepts": list(concepts), "random_directions": 2}
    values["models"] = {
        name: {
            "source": f"models/{name}",
            "dtype": "float32",
            "layers": [2, 5],
            "strength": 40.0,
            "filler": "matched" if index % 2 else "original",
            "contrast": None
            if index % 2
            else {"source": "models/organism-insecure", "strength": 20.0, "sample_strength": 30.0},
        }
        for index, name in enumerate(models)
    }
    values["sweep"] |= {
        "concepts": [concepts[0]],
        "prompts": ["info", "no_info"],
        "choose_concept": concepts[0],
        "choose_prompt": "info",
    }
    values["dose"] |= {"concepts": [concepts[0]]}
    values["population"] |= {"resamples": 20, "permutations": 20}
    values["organisms"]["held_out"] = ["cat", "bread"]
    return Settings.model_validate(values)


def write_project(
    root: Path,
    study: Settings,
    added: Mapping[str, tuple[str, str]] | None = None,
    unable: Collection[str] = (),
) -> Stimuli:
    """A project folder with data and result files for every model of the study, hostile texts among them.

    added: by file of `data/prompts`, a text and what takes its place there. unable: models that say yes to every
    control question, whatever its answer. Returns the prompts.
    """
    for folder in ("prompts", "published"):
        shutil.copytree(REPOSITORY / "data" / folder, root / "data" / folder, dirs_exist_ok=True)
    for name, (old, new) in (added or {}).items():
        path = root / "data" / "prompts" / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
    for name in ("objections.yaml", "registered_rule.json"):
        shutil.copyfile(REPOSITORY / "data" / name, root / "data" / name)
    stimuli = load_stimuli(root / "data" / "prompts")
    raw = root / "data" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "suffixes.json").write_text(json.dumps(["It", "I am"]))
    (raw / "contrast_prompts.csv").write_text("category,source,forbidden_prompt\na,b,c\n")
    for number, model in enumerate(study.study.models):
        _write_model(root / "results" / model, study, stimuli, model, number, model in unable)
        _write_summaries(root / "results" / model, study, stimuli)
        _write_verdict(root / "results" / model, number)
    for table, rows in read_again(read_published(root / "data" / "published")):
        table.write(rows, root / "results" / "published" / table.name)
    return stimuli


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_model(
    folder: Path, study: Settings, stimuli: Stimuli, model: str, number: int, says_yes: bool = False
) -> None:
    chosen = study.models[model]
    vectors = names.vector_names(study.study.concepts, study.study.random_directions, chosen.contrast is not None)
    vectors += [names.FINETUNE] if chosen.contrast else []
    for name in (QUESTIONS, REPLIES):
        strength = chosen.contrast and (chosen.contrast.samples_at if name == REPLIES else chosen.contrast.strength)
        write_json(folder / name, asdict(Dose(*chosen.layers, chosen.strength, strength)))
    _write_dose(folder, study, model)
    _write_population(folder, study, chosen.layers, number)
    layers, best = chosen.layers, (3, 6)
    companions = names.companion_names(study.study.concepts, study.study.random_directions)
    for place, (first, last) in ((folder, layers), (folder / "chosen_range", best)):
        write_csv(
            place / "detection.csv",
            [
                {
                    "vector": vector,
                    "prompt": prompt,
                    **_range(study, model, vector, first, last),
                    **_readout(-6.0 + row * 0.3, _shift(vector, prompt, number)),
                }
                for vector in (*vectors, *(companions if place == folder else ()))
                for row, prompt in enumerate(stimuli.detection)
            ],
        )
        if place == folder:
            _write_written(folder, study, stimuli, model)
        write_csv(
            place / "controls.csv",
            [
                {
                    "vector": vector,
                    "question": question.question,
                    "group": question.group,
                    **_range(study, model, vector, first, last),
                    **_readout(_control(question.expected, row, says_yes), 0.02 * row),
                }
                for vector in (*vectors, *(companions if place == folder else ()))
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
                    [(names.NOTHING, 0), *((name, 1) for name in vectors if names.kind_of(name) != "random")]
                    + ([(names.ANTI_PERSONA, -1)] if chosen.contrast else [])
                )
            ],
        )
    _write_framing(folder, layers, [study.study.concepts[0], names.random_name(1)])
    _write_places(folder, study, layers, [study.study.concepts[0], names.random_name(1)])
    _write_battery(folder, study, stimuli, model, vectors)
    _write_suffixes(folder, study, stimuli, model, number)
    write_csv(
        folder / "lens.csv",
        [
            {
                "vector": vector,
                "scenario": scenario,
                "prompt": "info" if scenario == names.WEAK else scenario,
                "strength": chosen.strength / 4 if scenario == names.WEAK else chosen.strength,
                "layer": layer,
                "p_yes_base": 0.01 * layer,
                "p_yes_injected": max(0.0, math.sin(layer / 3)) * LEVELS.get(scenario, 0.1),
            }
            for vector in vectors
            for scenario in (*stimuli.detection, names.WEAK)
            if (vector, scenario) != (names.FINETUNE, names.WEAK)
            for layer in range(9)
        ],
    )
    injected = [vector for vector in vectors if names.kind_of(vector) != "random"]
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
            for prompt in stimuli.content
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
            for prompt in stimuli.content
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
                "first_layer": best[0],
                "last_layer": best[1],
                "p_yes": 0.5,
                "log_odds_yes": 0.0,
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


def _write_battery(folder: Path, study: Settings, stimuli: Stimuli, model: str, vectors: list[str]) -> None:
    """A model that leans to yes under any injection, and under a concept means it by two nats besides."""
    battery = stimuli.battery()
    rows = [
        {
            "vector": vector,
            "prompt": prompt,
            "item": item.text,
            "group": item.group,
            "format": item.format,
            "answers": battery.formats[item.format].kind,
            "polarity": item.polarity,
            "pair": item.pair,
            **_range(study, model, vector, *study.models[model].layers),
            **_readout(0.1 * number - 4, 1.0 + 2.0 * (item.polarity or 0) * (names.kind_of(vector) == "concept")),
        }
        for vector in vectors
        for prompt in battery.prompts
        for number, item in enumerate(battery.items)
    ]
    write_csv(folder / BATTERY.name, rows)
    table = BATTERY.read(folder / BATTERY.name)
    FIT.write(battery_fit(table, study.battery), folder / FIT.name)
    PHRASINGS.write(battery_phrasings(table), folder / PHRASINGS.name)


def _write_dose(folder: Path, study: Settings, model: str) -> None:
    """A model that bears half of the norm and no more."""
    layers, vectors = study.models[model].layers, names.vector_names(study.dose.concepts, 2, has_finetune=False)
    write_json(folder / CALIBRATION, asdict(Calibration(model, 80.0, 0.5, "at 0.75, kl is 3 nats")))
    write_csv(
        folder / "residual_norms.csv",
        [{"layer": layer, "mean_norm": 10.0 * (layer + 1), "norm_std": 1.5} for layer in range(9)],
    )
    write_csv(
        folder / "dose.csv",
        [
            {
                "vector": vector,
                "fraction": fraction,
                "strength": 80 * fraction,
                "first_layer": layers[0],
                "last_layer": layers[1],
                "kl": 4 * fraction,
                "answer_mass": 1 - fraction / 4,
                "control_accuracy": 0.75,
                "distinct": 1 - fraction / 2,
                "on_topic": int(fraction > 0) if names.kind_of(vector) == "concept" else "",
                "reply": HOSTILE[row % len(HOSTILE)],
            }
            for vector in vectors
            for row, fraction in enumerate((0.0, 0.25, 0.5, 0.75))
        ],
    )


def _write_framing(folder: Path, layers: tuple[int, int], vectors: Collection[str]) -> None:
    """Two frames with either support."""
    write_csv(
        folder / "framing.csv",
        [
            {
                "vector": vector,
                "frame": frame,
                "support": support,
                "strength": 8.0,
                "first_layer": layers[0],
                "last_layer": layers[1],
                "tokens_turn_1": 100,
                "p_yes_base": base,
                "p_yes_injected": 0.5,
                **dict.fromkeys(("shift", "control_shift", "signed_shift", "residual"), base),
                "accuracy": 0.75,
                "answer_mass": 0.9,
            }
            for vector in vectors
            for support in ("explanation", "filler")
            for frame, base in (("announces", 0.3), ("denies", 0.1))
        ],
    )


def _write_places(folder: Path, study: Settings, layers: tuple[int, int], vectors: Collection[str]) -> None:
    """The model's own blocks and one other window, at the doses that all models have in common, and at one more."""
    write_csv(
        folder / "places.csv",
        [
            {
                "vector": vector,
                "first_layer": first,
                "last_layer": last,
                "own": (first, last) == layers,
                "fraction": fraction,
                "strength": 80 * fraction,
                "p_yes_base": 0.1,
                "p_yes_injected": 0.1 + fraction,
                **dict.fromkeys(("shift", "control_shift", "signed_shift", "residual"), fraction),
                "accuracy": 0.75,
                "answer_mass": 1 - fraction / 4,
            }
            for vector in vectors
            for first, last in (layers, (1, 1))
            for fraction in (*study.places.common, 0.75)
        ],
    )


def _write_written(folder: Path, study: Settings, stimuli: Stimuli, model: str) -> None:
    """Every sentence about each concept and about none, under the concepts and a random direction."""
    file, concepts = stimuli.written(), study.study.concepts
    write_csv(
        folder / "written.csv",
        [
            {
                "vector": vector,
                "written": written,
                "sentence": sentence,
                "prompt": prompt,
                **_range(study, model, vector, *study.models[model].layers),
                **_readout(-5.0 + 0.1 * row, 1.5 if vector in concepts else 0.1),
            }
            for prompt in file.prompts
            for sentence in file.sentences
            for row, written in enumerate((names.NOTHING, *concepts))
            for vector in (*(concepts if written == names.NOTHING else [written]), names.random_name(1))
        ],
    )


def _write_population(folder: Path, study: Settings, layers: tuple[int, int], number: int) -> None:
    """Two directions of each kind, the second of which cannot be matched in effect if it is random."""
    everyone = [*(("concept", concept) for concept in ("cat", "bread")), ("shared", names.SHARED)]
    everyone += [(kind, f"{kind}_{each}") for kind in names.DRAWN for each in (1, 2)]
    everyone += [
        (kind, names.derived(kind, concept)) for kind in ("centred", "negated") for concept in ("cat", "bread")
    ]
    table = pd.DataFrame(
        {
            "vector": vector,
            "kind": kind,
            "matching": matching,
            "prompt": prompt,
            "strength": 40.0,
            "first_layer": layers[0],
            "last_layer": layers[1],
            "cosine": 0.5 - 0.01 * row,
            "kl": 1.5,
            "reached": (vector, matching) != ("random_2", "effect"),
            **{
                name: value
                for name, value in _readout(-6.0, _shift(vector, prompt, number) + 0.1 * row).items()
                if not name.endswith("_bf16")
            },
        }
        for matching in MATCHINGS
        for row, (kind, vector) in enumerate(everyone)
        for prompt in study.population.prompts
    )
    POPULATION.write(table, folder / POPULATION.name)
    SUMMARY.write(summary(table, study.population), folder / SUMMARY.name)


def _write_suffixes(folder: Path, study: Settings, stimuli: Stimuli, model: str, number: int) -> None:
    """Suffixes that disagree by block 2, and halves that shift the answer either way."""
    chosen = study.models[model]
    write_csv(
        folder / "sign_audit.csv",
        [
            {
                "vector": concept,
                "block": block,
                "pairs": 429,
                "positive_share": 0.5 + 0.05 * block,
                "rules_agree": block != 2,
                "explained_share": 0.3,
                "cosine_mean": 0.9,
                "cosine_halves": -0.99 if block == 2 else 0.9,
            }
            for concept in study.study.concepts
            for block in range(1, 8)
        ],
    )
    sign = {"half_1": 1.0, "half_2": -1.0, "mean_sign": 0.5}
    keys = [(concept, prompt) for concept in study.study.concepts for prompt in stimuli.detection]
    resampled = {key: bootstrap_kinds(3) for key in keys if key[1] in study.suffixes.prompts}
    write_csv(
        folder / "suffix_detection.csv",
        [
            {
                "vector": concept,
                "kind": kind,
                "prompt": prompt,
                **_range(study, model, concept, *chosen.layers),
                **_readout(-6.0, _shift(concept, prompt, number) * sign.get(kind, 0.8)),
            }
            for concept, prompt in keys
            for kind in (*sign, *resampled.get((concept, prompt), ()))
        ],
    )
    detection, asked = (pd.read_csv(folder / name) for name in ("detection.csv", "suffix_detection.csv"))
    INTERVALS.write(suffix_intervals(asked, detection, study.suffixes.confidence, "mean_sign"), folder / INTERVALS.name)


def _write_verdict(folder: Path, number: int) -> None:
    """The first model passes every test, the second fails one of them, by a rule that is not the registered one."""
    rows = [
        {
            "order": order,
            "test": test,
            "measured": f"number {order}, 100% of $x$ & a_b",
            "number": 0.1 * order,
            "low": 0.05 * order,
            "high": 0.2 * order,
            "resampled": "concepts",
            "rule": "at least 0",
            "passed": not (number and order == 3),
        }
        for order, test in enumerate(TESTS, start=1)
    ]
    VERDICT.write(pd.DataFrame(rows), folder / VERDICT.name)
    found = {"verdict": "reads the text" if number else "notices concepts", "failed": ["text"] if number else []}
    write_json(folder / "verdict.json", {**found, "rule": "abc", "rule_as_registered": not number})


def _write_summaries(folder: Path, study: Settings, stimuli: Stimuli) -> None:
    """The small files that go with the tables."""
    controls = pd.read_csv(folder / "controls.csv", keep_default_na=False)
    statistics = control_statistics(controls, stimuli.expected, study.controls.exclude_above)
    answered = competence(controls, stimuli.expected, study.competence.confidence)
    COMPETENCE.write(answered, folder / COMPETENCE.name)
    can = unsteered(answered).can_answer(study.competence.accuracy_at_least, study.competence.answer_mass_at_least)
    statistics.table.to_csv(folder / "control_statistics.csv", index=False, float_format="%.9g")
    COMPETENCE.write(answered, folder / "chosen_range" / COMPETENCE.name)
    matched = study.models[folder.name].filler == "matched"
    write_csv(
        folder / "prompt_tokens.csv",
        [
            {
                "prompt": prompt,
                "tokens_turn_1": 500 - row,
                "tokens": 570 - row,
                "tokens_turn_1_as_written": 600 - row,
                "words_changed": -40 if (shortened := matched and prompt == "lorem_ipsum") else 0,
                "matched_to": "info" if shortened else "",
            }
            for row, prompt in enumerate(stimuli.detection)
        ],
    )
    contents: dict[str, Any] = {
        "filler.json": {"lorem_ipsum": "Lorem ipsum, cut"} if matched else {},
        "competence.json": {"can_answer": can},
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
    if vector == names.FINETUNE or sign == 0:
        return {"strength": 0, "first_layer": "", "last_layer": ""}
    strength = chosen.contrast.strength if names.kind_of(vector) == "persona" and chosen.contrast else chosen.strength
    return {"strength": sign * strength, "first_layer": first, "last_layer": last}


def _control(expected: str, row: int, says_yes: bool) -> float:
    if says_yes:
        return 1.0
    return (-1.0 if row == 3 else -9.0) if expected == "no" else 6.0


def _shift(vector: str, prompt: str, number: int) -> float:
    if names.kind_of(vector) == "random" or number % 2:
        return 0.01
    return {"no_info": 1.0, "info": 7.0, "inaccurate_location": 4.0, "lorem_ipsum": 1.5}.get(prompt, 2.0)


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
        **{f"answer_mass_{arm}": value + 0.999 * (1 - value) for arm, value in yes.items()},
        **{f"logit_difference_{arm}": math.log(value / (0.999 * (1 - value))) for arm, value in yes.items()},
    }


def stages_of(study: Settings) -> dict[str, str]:
    """The stage of every result file that `write_project` writes."""
    stages = {"results/published": "published"}
    for model in study.study.models:
        for name in MODEL_FILES:
            stages[f"results/{model}/{name}"] = f"{Path(name).stem}@{model}"
    return stages
