"""Where: cells against the two-phase procedure run by run, a planted reader, and p-values by enumeration."""

from __future__ import annotations

import re
from dataclasses import asdict
from itertools import pairwise, permutations, product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML

from introspection.engine.trial import Injection, Trial
from introspection.experiments.subject import Subject, open_subject
from introspection.experiments.where.measure import measure, trials
from introspection.experiments.where.statistics import paired_p_value, place_p_value, where_summary
from introspection.experiments.where.tables import SUMMARY, WHERE
from introspection.files import write_json
from introspection.injection import cells as cells_module
from introspection.injection.dose import QUESTIONS, Dose
from introspection.injection.vectors import load_vector, random_vectors, save_vector
from introspection.model.language_model import LanguageModel
from introspection.settings import ModelSettings, Settings, load_settings
from introspection.stimuli.chat import encode, passage_spans
from introspection.stimuli.prompts import Stimuli, StimuliError
from tests.conftest import ROOT
from tests.processes import run_script
from tests.reference import piecewise_logits

STIMULI = Stimuli(ROOT / "data" / "prompts")
SENTENCES = STIMULI.where().texts
ENDS = ("low", "high")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def small_settings() -> Settings:
    settings = load_settings(ROOT / "params.yaml")
    study = settings.study.model_copy(update={"concepts": ("cat", "bread"), "random_directions": 1})
    where = settings.where.model_copy(update={"resamples": 200, "permutations": 500})
    return settings.model_copy(update={"study": study, "where": where})


@pytest.fixture(scope="module")
def subject(folders: dict[str, Path], qwen2: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A small model with vectors for two concepts and a random direction."""
    folder = tmp_path_factory.mktemp("results") / "small"
    write_json(folder / QUESTIONS, asdict(Dose(1, 3, 4.0, None)))
    vectors = [vector for _, vector in random_vectors(qwen2, 3, seed=1)]
    for name, vector in zip(("cat", "bread", "random_1"), vectors, strict=True):
        save_vector(vector, folder / "vectors" / f"{name}.gguf")
    loading = ModelSettings(
        source=str(folders["qwen2"]), dtype="float32", layers=(1, 3), strength=4.0, filler="original", contrast=None
    )
    return open_subject(small_settings(), "small", loading, STIMULI, folder).loaded()


def measured(subject: Subject, folder: Path) -> pd.DataFrame:
    """`where.csv`, written and read."""
    (outputs,) = measure(subject).values()
    outputs.table.write(outputs.rows, folder / WHERE.name)
    return WHERE.read(folder / WHERE.name, "")


def choice(found: pd.DataFrame, **values: Any) -> pd.DataFrame:
    return found[np.logical_and.reduce([found[name] == value for name, value in values.items()])]


def starts_of(model: LanguageModel, ids: tuple[int, ...], sentence: str) -> tuple[int, int]:
    """The first and last tokens from which on the text is space and then a sentence; two where space is a token."""
    begins = [k for k in range(len(ids)) if model.tokenizer.decode(ids[k:]).lstrip().startswith(sentence)]
    return begins[0], begins[-1]


def test_a_cell_is_the_two_phase_procedure(subject: Subject, tmp_path: Path) -> None:
    found, model = measured(subject, tmp_path), subject.model
    (run,) = trials(subject)
    assert len(run.trials) == 16 + 4 * 2 * 2 * 2 * (2 + 10)  # unsteered; vectors, texts, aims, orders, places
    where, vectors = STIMULI.where(), {"bread": load_vector(subject.folder / "vectors" / "bread.gguf")}
    letters = [model.token(f" {letter}") for letter in "ABCDEFHJKL"]
    for task, text, place, order in (("half", 0, 2, "reversed"), ("sentence", 1, 4, "forward")):
        row = choice(found, vector="bread", text=text + 1, task=task, aim="injected", order=order, place=place).iloc[0]
        item = next(
            each
            for each in where.items
            if (each.text, each.task, each.aim, each.order) == (text, task, "injected", order)
        )
        encoded = encode(model.tokenizer, STIMULI.where_conversation(where, item))
        each = 10 // row["places"]
        ids = encoded.token_ids
        begins = [starts_of(model, ids, SENTENCES[text][k * each]) for k in range(row["places"])]
        begins.append(starts_of(model, ids, "<|im_end|>\n<|im_start|>assistant\n{ }"))
        tokens = min(stop - start for (_, start), (stop, _) in pairwise(begins))
        assert row["tokens"] == tokens
        start = begins[place - 1][1]
        positions = tuple(range(start, start + tokens))
        arm = Injection("bread", 4.0, 1, 3, positions)
        options = letters[: row["places"]] if order == "forward" else letters[: row["places"]][::-1]
        base, injected = (
            torch.log_softmax(piecewise_logits(model, Trial(ids, encoded.steered, arms), vectors), -1)[options]
            for arms in ((), (arm,))
        )
        for name, logits in (("base", base), ("injected", injected)):
            assert row[f"p_place_{name}"] == pytest.approx(float(logits.softmax(-1)[place - 1]), rel=1e-3)
            assert row[f"answer_mass_{name}"] == pytest.approx(float(logits.exp().sum()), rel=1e-3)
        assert row["chosen_base"] == int(base.argmax()) + 1
        assert row["chosen"] == int(injected.argmax()) + 1
        assert row["chosen_debiased"] == int((injected - base).argmax()) + 1


class PlantedReader:
    """In the engine's place: a model that finds the injected words, and the letter by which they are asked for.

    It reads the text and the question as a person would, from the tokens. Asked for something else, or, less surely,
    with nothing injected, it says A.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    def __call__(self, model: LanguageModel, rows: list[Trial], *_: Any, **__: Any) -> torch.Tensor:
        letters = torch.tensor([self.model.token(f" {self.letter(row)}") for row in rows])
        weight = self.model.unembedding.weight.detach()
        assert isinstance(weight, torch.Tensor)
        sure = torch.tensor([[50.0 if row.injections else 5.0] for row in rows])
        return (sure * torch.nn.functional.normalize(weight[letters], dim=-1)).unsqueeze(1)

    def letter(self, row: Trial) -> str:
        text = self.model.tokenizer.decode(row.token_ids)
        if not row.injections or "did I inject" not in text:
            return "A"
        (injection,) = row.injections
        assert injection.positions is not None
        words = self.model.tokenizer.decode([row.token_ids[k] for k in injection.positions]).strip()
        (number,) = [
            k for sentences in SENTENCES for k, sentence in enumerate(sentences) if words[:25] in sentence[:26]
        ]
        sentence_wanted = "Into which sentence" in text
        part = ORDINALS[number] if sentence_wanted else f"{ORDINALS[number // 5]} half"
        (letter,) = re.findall(rf"^([A-Z]): {part}$", text, flags=re.M)
        return str(letter)


def test_a_model_that_knows_where_is_always_right_and_unsteered_right_by_chance(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells_module, "run_trials", PlantedReader(subject.model))
    found = measured(subject, tmp_path)
    for _, unsteered in found.groupby(["vector", "text", "task", "aim", "order"]):
        assert (unsteered["chosen_base"] == unsteered["place"]).sum() == 1
    table = where_summary(found, subject.settings.where)
    SUMMARY.write(table, tmp_path / SUMMARY.name)
    summary = SUMMARY.read(tmp_path / SUMMARY.name, "").set_index(["kind", "task", "readout"])
    assert set(summary.index) == set(
        product(("concept", "random", "coherent"), ("half", "sentence"), ("raw", "debiased"))
    )
    assert (summary["accuracy_injected"] == 1).all() and (summary["accuracy_injected_low"] == 1).all()
    raw = summary.xs("raw", level="readout")
    assert raw["accuracy_abstract"].to_numpy() == pytest.approx(raw["chance"].to_numpy())
    assert (raw["accuracy_abstract_p"] == 1).all()
    assert raw["difference"].to_numpy() == pytest.approx(1 - raw["chance"].to_numpy())
    concepts = raw.loc["concept"]
    assert concepts.loc["half", "chance"] == 0.5 and concepts.loc["sentence", "chance"] == 0.1
    assert concepts["units"].tolist() == [4, 4] and concepts["trials"].tolist() == [16, 80]
    assert concepts["difference_p"].to_numpy() == pytest.approx(2 / 2**4)  # all signs alike, either way
    assert (concepts["accuracy_injected_p"] < 0.01).all()


def table_of(chosen: dict[str, int], debiased: dict[str, int]) -> pd.DataFrame:
    """Two vectors, two texts and orders; by aim, what is chosen whatever the place, and what is less the unsteered."""
    return pd.DataFrame(
        [
            {
                "vector": vector,
                "text": text,
                "task": "half",
                "aim": aim,
                "order": order,
                "place": place,
                "places": 2,
                "chosen": chosen[aim],
                "chosen_debiased": place if debiased[aim] else 1,
                "answer_mass_injected": 0.5,
            }
            for vector in ("cat", "bread")
            for text in (1, 2)
            for aim in chosen
            for order in ("forward", "reversed")
            for place in (1, 2)
        ]
    )


def test_a_leaning_hides_from_the_raw_readout_what_the_debiased_one_shows() -> None:
    settings = small_settings().where
    table = where_summary(table_of({"injected": 1, "abstract": 2}, {"injected": 1, "abstract": 0}), settings)
    raw, debiased = (table[table["readout"] == readout].iloc[0] for readout in ("raw", "debiased"))
    assert (raw["accuracy_injected"], raw["accuracy_abstract"], raw["difference"]) == (0.5, 0.5, 0.0)
    assert (debiased["accuracy_injected"], debiased["accuracy_abstract"], debiased["difference"]) == (1.0, 0.5, 0.5)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_summary_is_told_anew_row_by_row(seed: int) -> None:
    """Choices drawn at random, of two kinds of vectors, two tasks and vectors in no order, counted one by one."""
    random = np.random.default_rng(seed)
    settings = small_settings().where.model_copy(update={"resamples": 5000, "permutations": 5000})
    rows = [
        {"vector": vector, "text": text, "task": task, "aim": aim, "order": order, "place": place, "places": places}
        | {"chosen": int(random.integers(1, places + 1)), "chosen_debiased": int(random.integers(1, places + 1))}
        | {"answer_mass_injected": float(random.uniform())}
        for task, places in (("third", 3), ("half", 2))
        for vector in ("random_1", "cat", "random_2", "bread")
        for text in (1, 2, 3)
        for aim in ("abstract", "injected")
        for order in ("forward", "reversed")
        for place in range(1, places + 1)
    ]
    summary = where_summary(pd.DataFrame(rows), settings)
    kinds = {"random": ("random_1", "random_2"), "concept": ("cat", "bread")}
    keys = [(kind, task, readout) for task in ("third", "half") for kind in kinds for readout in ("raw", "debiased")]
    assert list(map(tuple, summary[["kind", "task", "readout"]].to_numpy())) == keys
    for row in summary.to_dict("records"):
        chosen = {"raw": "chosen", "debiased": "chosen_debiased"}[row["readout"]]
        part = [each for each in rows if each["task"] == row["task"] and each["vector"] in kinds[row["kind"]]]
        assert row["chance"] == 1 / part[0]["places"]
        units: dict[str, list[float]] = {}
        for aim in ("injected", "abstract"):
            asked = [each for each in part if each["aim"] == aim]
            right: dict[tuple[str, int], list[bool]] = {}
            for each in asked:
                right.setdefault((each["vector"], each["text"]), []).append(each[chosen] == each["place"])
            units[aim] = [float(np.mean(of_unit)) for of_unit in right.values()]
            assert (row["units"], row["trials"]) == (len(units[aim]), len(asked)) == (6, 12 * part[0]["places"])
            assert row[f"accuracy_{aim}"] == pytest.approx(np.mean(units[aim]))
            assert row[f"answer_mass_{aim}"] == pytest.approx(np.mean([each["answer_mass_injected"] for each in asked]))
            drawn = np.random.default_rng(5).choice(units[aim], (20000, 6)).mean(axis=1)
            ends = np.quantile(drawn, [(1 - settings.confidence) / 2, (1 + settings.confidence) / 2])
            assert [row[f"accuracy_{aim}_low"], row[f"accuracy_{aim}_high"]] == pytest.approx(ends, abs=0.06)
            by_block = pd.DataFrame(asked).pivot(index=["vector", "text", "order"], columns="place", values=chosen)
            exact = place_p_value(by_block.to_numpy(), 20_000, seed=3)
            assert row[f"accuracy_{aim}_p"] == pytest.approx(exact, abs=0.02)
        difference = np.subtract(units["injected"], units["abstract"])
        assert row["difference"] == pytest.approx(difference.mean())
        drawn = np.random.default_rng(5).choice(difference, (20000, 6)).mean(axis=1)
        ends = np.quantile(drawn, [(1 - settings.confidence) / 2, (1 + settings.confidence) / 2])
        assert [row["difference_low"], row["difference_high"]] == pytest.approx(ends, abs=0.08)
        signs = np.array(list(product((1, -1), repeat=6)))
        at_least = np.abs(signs @ difference) >= abs(difference.sum()) - 1e-9
        assert row["difference_p"] == pytest.approx(at_least.mean())


def test_the_same_seed_draws_the_same_where_there_are_too_many_orders_to_try_all() -> None:
    """Sixteen units, whose 65,536 signs are more than are drawn."""
    random = np.random.default_rng(2)
    settings = small_settings().where.model_copy(update={"resamples": 50, "permutations": 50})
    rows = [
        {"vector": vector, "text": text, "task": "half", "aim": aim, "order": "forward", "place": place, "places": 2}
        | {"chosen": int(random.integers(1, 3)), "chosen_debiased": int(random.integers(1, 3))}
        | {"answer_mass_injected": 0.5}
        for vector in ("cat", "bread")
        for text in range(8)
        for aim in ("abstract", "injected")
        for place in (1, 2)
    ]
    first, *others = (where_summary(pd.DataFrame(rows), settings) for _ in range(4))
    assert all(first.equals(other) for other in others)
    first, second = random.uniform(size=(2, 16))
    found = {paired_p_value(first, second, 50, seed=seed) for seed in range(20)}
    assert len(found) > 1 and all(round(51 * value / 2, 6).is_integer() for value in found), "of as many as were asked"


def test_one_unit_has_no_interval_and_no_test_of_a_difference() -> None:
    table = table_of({"injected": 1, "abstract": 2}, {"injected": 1, "abstract": 0})
    alone = where_summary(table[(table["vector"] == "cat") & (table["text"] == 1)], small_settings().where)
    assert list(alone["units"]) == [1, 1]
    missing = [f"{name}_{end}" for name in ("accuracy_injected", "accuracy_abstract", "difference") for end in ENDS]
    assert alone[[*missing, "difference_p"]].isna().all(axis=None)
    assert not alone.drop(columns=[*missing, "difference_p"]).isna().any(axis=None)


def test_the_p_value_of_places_is_that_of_one_draw_with_the_choices_among_them() -> None:
    """Of one permutation: it is counted with what was found, so the p-value is a half or one."""
    choices = np.array([[1, 2, 3]])
    found = {place_p_value(choices, 1, seed=seed) for seed in range(20)}
    assert found == {0.5, 1.0}
    assert place_p_value(choices, 999, seed=0) == place_p_value(choices, 999, seed=0)


def test_the_p_value_of_places_is_that_of_all_permutations() -> None:
    choices = np.array([[1, 2, 3], [1, 3, 2], [2, 2, 3]])
    right = [
        sum(
            int(place == chosen)
            for row, places in zip(choices, drawn, strict=True)
            for chosen, place in zip(row, places, strict=True)
        )
        for drawn in product(*(list(permutations((1, 2, 3))) for _ in choices))
    ]
    exact = np.mean([abs(each - 3) >= abs(3 + 1 + 2 - 3) for each in right])
    assert place_p_value(choices, 40_000, seed=1) == pytest.approx(exact, abs=0.01)
    assert place_p_value(np.full((6, 10), 4), 100, seed=0) == 1  # the same part whatever the place


def test_the_p_value_of_a_difference_is_that_of_all_signs() -> None:
    first, second = np.array([1.0, 0.75, 0.5, 0.5]), np.array([0.5, 0.5, 0.5, 0.75])
    signs = np.array(list(product((1, -1), repeat=4)))
    sums = np.abs(signs @ (first - second))
    exact = np.mean(sums >= abs((first - second).sum()) - 1e-12)
    assert paired_p_value(first, second, 10_000, seed=0) == pytest.approx(exact)
    assert paired_p_value(first[:2], second[:2], 10, seed=0) == pytest.approx(0.5)  # two of four signs are as far
    assert np.isnan(paired_p_value(first[:1], second[:1], 10, seed=0))


def test_every_token_of_a_text_is_in_one_part(any_model: LanguageModel) -> None:
    where = STIMULI.where()
    for item in where.items:
        conversation = STIMULI.where_conversation(where, item)
        ids = encode(any_model.tokenizer, conversation).token_ids
        passages = where.passages(item.text, item.task)
        spans = passage_spans(any_model.tokenizer, conversation, passages)
        assert all(stop == start for (_, stop), (start, _) in pairwise(spans))
        texts = [any_model.tokenizer.decode(ids[slice(*span)]).strip() for span in spans]
        assert texts == passages and " ".join(texts) == " ".join(SENTENCES[item.text])
        order = [line for line in where.question(item).splitlines() if re.match("[A-Z]: ", line)]
        named = [
            f"{letter.strip()}: {place}"
            for letter, place in zip(where.answers(item), where.tasks[item.task].places, strict=True)
        ]
        assert sorted(order) == sorted(named) and len(set(order)) == prod((len(passages),))


@pytest.mark.parametrize(
    ("written", "instead", "message"),
    [
        ("places: [first half, second half]", "places: [a, b, c]", "not divided evenly among the 3 places of half"),
        ("abstract: Which half", "longest: Which half", r"tasks.half.questions.longest"),
        ("letters: [A, B, C, D, E, F, H, J, K, L]", "letters: [A, B, C]", "10 places and 3 letters"),
    ],
)
def test_a_file_that_asks_amiss_is_refused(tmp_path: Path, written: str, instead: str, message: str) -> None:
    text = (ROOT / "data" / "prompts" / "where.yaml").read_text(encoding="utf-8")
    assert written in text
    (tmp_path / "where.yaml").write_text(text.replace(written, instead), encoding="utf-8")
    with pytest.raises(StimuliError, match=message):
        Stimuli(tmp_path).where()


def test_the_stages_measure_the_organism(project: Path) -> None:
    yaml = YAML(typ="rt")
    values = yaml.load((project / "params.yaml").read_text(encoding="utf-8"))
    values["study"] |= {"concepts": ["cat"]}
    values["sweep"] |= {"concepts": ["cat"]}
    for section in ("dose", "places"):
        values[section] |= {"concepts": ["cat"]}
    values["where"] |= {"directions": 0, "permutations": 100, "resamples": 100}
    with (project / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(values, file)
    for stage in ("measure", "summarise"):
        done = run_script(project, f"stages/{stage}.py", "where", "organism", code=project)
        assert done.returncode == 0, done.stderr[-3000:]
    found = WHERE.read(project / "results" / "organism" / WHERE.name)
    assert len(found) == 2 * 2 * 2 * (2 + 10) and set(found["vector"]) == {"cat"}
    for _, block in found.groupby(["text", "task", "aim", "order"]):
        assert (block["chosen_base"] == block["place"]).sum() == 1  # with nothing injected, right by chance
        assert block["p_place_base"].sum() == pytest.approx(1, abs=1e-6)
        assert block["tokens"].nunique() == 1
    summary = SUMMARY.read(project / "results" / "organism" / SUMMARY.name)
    asked = found[(found["aim"] == "injected") & (found["task"] == "sentence")]
    row = summary[(summary["task"] == "sentence") & (summary["readout"] == "raw")].iloc[0]
    assert row["accuracy_injected"] == pytest.approx((asked["chosen"] == asked["place"]).mean())
