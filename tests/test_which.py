"""Which one: information against closed forms, orders, the choices against the two-phase procedure, words by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import rankdata
from sklearn.metrics import mutual_info_score

from introspection.engine.trial import Directions
from introspection.experiments.population.concepts import load_population
from introspection.experiments.population.vectors import VECTORS, save_directions
from introspection.experiments.subject import open_subject
from introspection.experiments.which.measure import measure, orders, trials
from introspection.experiments.which.statistics import (
    against_null,
    choices_of,
    held_out_counts,
    held_out_layers,
    information,
    interval,
    miller_madow,
    naming_summary,
    null,
    one_hot,
    which_tables,
)
from introspection.experiments.which.summary import summarise
from introspection.experiments.which.tables import (
    CONFUSION,
    HELD_OUT,
    KEYS,
    LAST,
    LENS,
    NAMING,
    ORDERS,
    PROBABILITY,
    SHIFT,
    SUMMARY,
    WHICH,
)
from introspection.files import write_json
from introspection.injection.dose import QUESTIONS, Dose
from introspection.injection.repengs import ControlVector
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel
from introspection.model.readout import read_choice
from introspection.names import NOTHING
from introspection.settings import ModelSettings, Settings, load_settings
from introspection.stimuli.prompts import Stimuli, StimuliError
from introspection.stimuli.which import NUMBERS
from introspection.tables import write_outputs
from tests.conftest import ROOT
from tests.reference import two_phase_logits


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(ROOT / "params.yaml")


@pytest.mark.parametrize("size", [2, 7, 10])
def test_a_permutation_tells_everything(size: int) -> None:
    order = np.random.default_rng(size).permutation(size)
    assert information(5 * np.eye(size)[order]) == pytest.approx(np.log2(size))


def test_information_is_scikit_learns() -> None:
    rows, columns = np.random.default_rng(0).integers(6, size=(2, 80))
    counts = np.histogram2d(rows, columns, bins=[range(7), range(7)])[0]
    assert information(counts) == pytest.approx(mutual_info_score(rows, columns) / np.log(2))


def test_information_of_a_stack_is_that_of_each_table() -> None:
    tables = np.random.default_rng(1).integers(1, 9, size=(3, 2, 4, 5)) * np.array([1, 3, 9])[:, None, None, None]
    alone = [[float(information(table)) for table in pair] for pair in tables]
    assert information(tables) == pytest.approx(np.array(alone))


def test_independent_choices_tell_nothing_once_the_bias_is_off() -> None:
    generator = np.random.default_rng(0)
    corrected, plain = [], []
    for seed in range(30):
        cells = one_hot(generator.integers(10, size=(10, 10, 1)))
        found = against_null(
            information(cells.sum(axis=0)), null(cells, lambda c: information(c.sum(axis=0)), 60, seed)
        ).iloc[0]
        corrected.append(found["bits_corrected"])
        plain.append(found["bits"])
    assert min(plain) > 0.3
    assert np.mean(corrected) == pytest.approx(0, abs=3 * np.std(corrected) / np.sqrt(len(corrected)))


def test_the_formula_of_miller_and_madow() -> None:
    counts = np.array([[3, 1, 0], [0, 4, 2]])
    assert miller_madow(counts) == pytest.approx((4 - 2 - 3 + 1) / 20 / np.log(2))
    dense = np.ones((4, 4), int)
    assert miller_madow(dense) == pytest.approx(9 / 32 / np.log(2))
    seldom = np.array([[1, 0, 0], [0, 2, 0], [0, 0, 0]])  # what never occurs is no row and no column; once is enough
    assert miller_madow(seldom) == pytest.approx((2 - 2 - 2 + 1) / 6 / np.log(2))


def test_a_layer_is_not_chosen_on_the_order_that_it_is_read_in() -> None:
    """Two layers: one right in all orders but the first, one right in the first alone."""
    right, wrong = np.arange(4), np.zeros(4, int)
    choices = np.stack([np.stack([wrong, right], axis=1)] + [np.stack([right, wrong], axis=1)] * 5)
    cells = one_hot(choices)
    assert held_out_layers(cells).tolist() == [0] * 6
    expected = 5 * np.eye(4, dtype=int)
    expected[:, 0] += 1
    assert held_out_counts(cells).tolist() == expected.tolist()


def test_what_is_chosen_is_looked_up_in_the_order_it_was_shown_in() -> None:
    """Rows in any order; each order has its own meaning of a number, each layer its own number."""
    options, generator = ["cat", "bread", NOTHING], np.random.default_rng(3)
    shown = {order: generator.permutation(options).tolist() for order in (1, 2, 3, 4)}
    said = generator.integers(3, size=(4, 3, 5))  # by order, what is injected and layer
    rows = [
        {"order": order, "injected": injected, "layer": layer, "number": said[order - 1, place, layer]}
        for order in shown
        for place, injected in enumerate(options)
        for layer in range(5)
    ]
    meanings = pd.DataFrame(
        [{"order": order, "number": n, "option": each} for order, all_ in shown.items() for n, each in enumerate(all_)]
    )
    expected = [
        [[options.index(shown[order][said[order - 1, place, layer]]) for layer in range(5)] for place in range(3)]
        for order in shown
    ]
    lens = pd.DataFrame(rows).sample(frac=1, random_state=0)
    np.testing.assert_array_equal(choices_of(lens, meanings, options), expected)


def test_the_tables_are_told_anew_row_by_row(settings: Settings) -> None:
    """Two arms, three orders, three layers, choices at random: what a reader would count by hand."""
    rule = settings.which.model_copy(update={"concepts": ("cat", "bread"), "permutations": 40, "resamples": 200})
    options = ["cat", "bread", NOTHING]
    draw = np.random.default_rng(3)
    arms = [dict(zip(KEYS, (f"z{n}" if n else "b" for n in range(len(KEYS))), strict=True))]
    arms.append(dict.fromkeys(KEYS, "a"))  # after the other, as it comes
    orders_of, lens, which = [], [], []
    for order in (1, 2, 3):
        shown = draw.permutation(options)
        orders_of += [{"order": order, "number": number, "option": word} for number, word in enumerate(shown)]
    shown_at = pd.DataFrame(orders_of)
    for arm in arms:
        for order in (1, 2, 3):
            for injected in options:
                which.append({**arm, "mass": draw.random()})
                for layer in (0, 1, 2):
                    lens.append(
                        {**arm, "order": order, "injected": injected, "layer": layer, "number": draw.integers(3)}
                    )
    rows, masses = pd.DataFrame(lens), pd.DataFrame(which)
    layers, summary, confusion = which_tables(masses, rows, shown_at, rule)
    assert layers.index.tolist() == list(range(6)) and len(summary) == 4 and len(confusion) == 36
    for table in (layers, summary, confusion):  # arms as they come
        assert table[list(KEYS)].drop_duplicates().to_dict("records") == arms
    told = rows.merge(shown_at, on=["order", "number"])
    for arm in arms:
        own, mine, counted, of_layers = (
            table.loc[(table[list(KEYS)] == pd.Series(arm)).all(axis=1)] for table in (told, summary, confusion, layers)
        )

        def counts(part: pd.DataFrame) -> np.ndarray:
            return (
                pd.crosstab(part["injected"], part["option"])
                .reindex(index=options, columns=options)
                .fillna(0)
                .to_numpy()
            )

        assert of_layers["layer"].tolist() == [0, 1, 2]
        for layer, row in of_layers.set_index("layer").iterrows():
            at_layer = own[own["layer"] == layer]
            assert row["accuracy"] == pytest.approx((at_layer["injected"] == at_layer["option"]).mean())
            assert row["bits"] == pytest.approx(information(counts(at_layer)))
        chosen = {
            order: int(
                np.argmax(
                    [
                        information(counts(own[(own["layer"] == at) & (own["order"] != order)])).round(9)
                        for at in (0, 1, 2)
                    ]
                )
            )
            for order in (1, 2, 3)
        }
        read = {LAST: own[own["layer"] == 2], HELD_OUT: own[own["layer"] == own["order"].map(chosen)]}
        assert mine["reading"].tolist() == [LAST, HELD_OUT]
        for reading, row in mine.set_index("reading").iterrows():
            part = read[str(reading)]
            by_order = (part["injected"] == part["option"]).groupby(part["order"]).mean()
            used = part.groupby("order")["layer"].first()
            assert (row["layer_low"], row["layer_high"]) == (used.min(), used.max())
            assert row["choices"] == len(part) == 9
            assert row["accuracy"] == pytest.approx(by_order.mean())
            assert by_order.min() <= row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] <= by_order.max()
            assert row["bits"] == pytest.approx(information(counts(part)))
            assert row["bits_miller_madow"] == pytest.approx(row["bits"] - miller_madow(counts(part)))
            assert row["bits_corrected"] == pytest.approx(row["bits"] - row["bits_null"])
            assert row["mass"] == pytest.approx(
                masses.loc[(masses[list(KEYS)] == pd.Series(arm)).all(axis=1), "mass"].mean()
            )
            listed = counted[counted["reading"] == reading]
            assert listed["count"].tolist() == counts(part).astype(int).flatten().tolist()
            assert listed["injected"].tolist() == [each for each in options for _ in options]
            assert listed["chosen"].tolist() == options * 3
    again = which_tables(masses, rows, shown_at, rule)
    assert all(one.equals(other) for one, other in zip((layers, summary, confusion), again, strict=True))


def test_every_option_has_every_number_equally_often() -> None:
    options = [*"abcdefghi", NOTHING]
    found = orders(options, 30, seed=3)
    assert all(sorted(order) == sorted(options) for order in found)
    counts = Counter((number, option) for order in found for number, option in enumerate(order))
    assert set(counts.values()) == {3} and len(counts) == 100
    assert found != orders(options, 30, seed=4)


@pytest.fixture(scope="module")
def measured(
    folders: dict[str, Path],
    qwen2: LanguageModel,
    settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Directions]:
    """The result folder of a small model, with random directions for all concepts."""
    folder = tmp_path_factory.mktemp("results") / "small"
    write_json(folder / QUESTIONS, asdict(Dose(1, 3, 4.0, None)))
    concepts = load_population(ROOT / "data" / "concepts.yaml").concepts
    drawn = random_vectors(qwen2, len(concepts), seed=1)
    directions = {name: vector.directions for name, (_, vector) in zip(concepts, drawn, strict=True)}
    loading = ModelSettings(
        source=str(folders["qwen2"]), dtype="float32", layers=(1, 3), strength=4.0, filler="original", contrast=None
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "data").symlink_to(ROOT / "data")
        save_directions(directions, VECTORS / "small.safetensors")
        subject = open_subject(settings, "small", loading, Stimuli(ROOT / "data" / "prompts"), folder)
        arms, naming = trials(subject)
        assert len(arms.trials) == len(subject.stimuli.which().arms) * settings.which.orders * len(NUMBERS)
        assert all(qwen2.is_token(f" {each.vector}") for trial in naming.trials for each in trial.injections)
        outputs = measure(subject.loaded())
    write_outputs(outputs, folder)
    write_outputs(summarise(settings, "small", folder), folder)
    return folder, directions


@pytest.mark.parametrize(("place", "injected"), [("turn_2", "bread"), ("turn_1", "music"), ("turn_1", NOTHING)])
def test_a_choice_is_the_two_phase_procedure(
    measured: tuple[Path, Directions], qwen2: LanguageModel, place: str, injected: str
) -> None:
    folder, directions = measured
    stimuli = Stimuli(ROOT / "data" / "prompts")
    which = WHICH.read(folder / WHICH.name)
    row = which[
        (which["list"] == place)
        & (which["injected"] == injected)
        & (which["order"] == 4)
        & (which["prompt"] == "no_info")
        & (which["question"] == "injected")
    ].iloc[0]
    order = ORDERS.read(folder / ORDERS.name)
    options = order[order["order"] == 4].sort_values("number")["option"]
    words = "\n".join(f"({n}) {'none of these' if o == NOTHING else o}" for n, o in enumerate(options))
    file = stimuli.which()
    system, first, reply, second, answer = stimuli.detection["no_info"]
    question = getattr(file.questions["injected"], place).replace("$LIST", words)
    if place == "turn_1":
        text = f"{first.content}\n\nIf a thought has been injected, then it is one of these:\n\n{words}"
        first = first.model_copy(update={"content": text})
    else:
        assert words in question
    asked = (
        system,
        first,
        reply,
        second.model_copy(update={"content": question}),
        answer.model_copy(update={"content": "The answer is ("}),
    )
    vector = ControlVector(model_type="qwen2", directions=dict(directions["cat" if injected == NOTHING else injected]))
    logits = two_phase_logits(qwen2, asked, vector, 0.0 if injected == NOTHING else 4.0, (1, 3))
    expected = torch.softmax(logits[[qwen2.token(number) for number in NUMBERS]], dim=-1)
    found = [row[f"p_{number}"] for number in NUMBERS]
    assert found == pytest.approx(expected.tolist(), abs=1e-4)


def test_the_lens_ends_with_the_answer(measured: tuple[Path, Directions]) -> None:
    folder, _ = measured
    which, lens = WHICH.read(folder / WHICH.name), LENS.read(folder / LENS.name)
    keys = list(WHICH.key)
    last = lens[lens["layer"] == lens["layer"].max()].merge(which, on=keys, validate="one_to_one")
    assert len(last) == len(which)
    likeliest = last[[f"p_{number}" for number in NUMBERS]].to_numpy().argmax(axis=1)
    assert last["number"].tolist() == likeliest.tolist()


def test_the_summary_counts_every_choice(measured: tuple[Path, Directions], settings: Settings) -> None:
    folder, _ = measured
    confusion, summary = CONFUSION.read(folder / CONFUSION.name), SUMMARY.read(folder / SUMMARY.name)
    which, order = WHICH.read(folder / WHICH.name), ORDERS.read(folder / ORDERS.name)
    arm = ["prompt", "list", "question"]
    assert set(summary["choices"]) == {settings.which.orders * len(NUMBERS)}
    assert set(summary["reading"]) == {LAST, HELD_OUT}
    number = which[[f"p_{number}" for number in NUMBERS]].to_numpy().argmax(axis=1)
    chosen = pd.DataFrame({"order": which["order"], "number": number}).merge(order, how="left")["option"]
    for values, part in which.assign(chosen=chosen).groupby(arm):
        rows = summary[(summary[arm] == list(values)).all(axis=1) & (summary["reading"] == LAST)]
        assert rows["accuracy"].iloc[0] == pytest.approx((part["chosen"] == part["injected"]).mean())
        expected = mutual_info_score(part["injected"], part["chosen"]) / np.log(2)
        assert rows["bits"].iloc[0] == pytest.approx(expected, abs=1e-8)
        counts = confusion[(confusion[arm] == list(values)).all(axis=1) & (confusion["reading"] == LAST)]
        hits = counts.loc[counts["injected"] == counts["chosen"], "count"].sum()
        assert hits == (part["chosen"] == part["injected"]).sum()


def test_the_restricted_distribution_is_right_where_it_has_no_probability(qwen2: LanguageModel) -> None:
    states = 100 * torch.randn(3, 2, qwen2.hidden_size, generator=torch.Generator().manual_seed(0))
    restricted, mass = read_choice(qwen2, states, [5, 6, 7])
    whole = torch.softmax(qwen2.logits(states.flatten(0, 1)).double(), dim=-1)[:, [5, 6, 7]].reshape(3, 2, 3)
    assert torch.allclose(mass.double(), whole.sum(dim=-1), atol=1e-5)
    assert torch.allclose(restricted.double(), whole / whole.sum(dim=-1, keepdim=True), atol=1e-4)


def words(gain: float, likely: float = 0.0) -> pd.DataFrame:
    """Words of which each concept's own gains so much, and the first is so likely whatever is injected."""
    names = [f"w{number}" for number in range(12)]
    noise = np.random.default_rng(0).normal(size=(12, 12))
    return pd.DataFrame(
        [
            {
                "vector": vector,
                "prompt": "no_info",
                "word": word,
                "log_p_base": -5 + likely * (word == "w0"),
                "log_p_injected": -5 + likely * (word == "w0") + gain * (word == vector) + noise[i, j] / 10,
            }
            for i, vector in enumerate(names)
            for j, word in enumerate(names)
        ]
    )


def test_ranks_of_words(settings: Settings) -> None:
    told = naming_summary(words(3.0), settings.which).set_index("score")
    assert told["mean_rank"].tolist() == [1, 1] and told["first"].tolist() == [1, 1]
    assert (told["p_value"] < 0.01).all()
    blind = naming_summary(words(0.0, likely=9.0), settings.which).set_index("score")
    assert (blind["p_value"] > 0.05).all()
    assert blind.loc["shift", "rank_low"] < blind.loc["shift", "chance"] < blind.loc["shift", "rank_high"]


def test_ranks_and_their_p_value_are_told_by_hand(settings: Settings) -> None:
    """Three words: by probability each concept's own is first, by shift the second; two prompts as they come."""
    rule = settings.which.model_copy(update={"permutations": 2000})
    names = ["a", "b", "c"]
    injected = np.array([[3.0, 1, 0], [1, 3, 0], [0, 1, 3]])
    base = np.array([2.0, 0, 2.5])  # of the word, whatever is injected: the shift is injected less this
    table = pd.DataFrame(
        [
            {"vector": v, "prompt": prompt, "word": w, "log_p_base": base[j], "log_p_injected": injected[i, j]}
            for prompt in ("z", "a")
            for i, v in enumerate(names)
            for j, w in enumerate(names)
        ]
    )
    found = naming_summary(table, rule)
    assert found[["prompt", "score"]].to_numpy().tolist() == [[p, s] for p in ("z", "a") for s in (PROBABILITY, SHIFT)]
    by_score = found[found["prompt"] == "z"].set_index("score")
    assert by_score["mean_rank"].to_dict() == pytest.approx({PROBABILITY: 1.0, SHIFT: (1.5 + 1 + 2) / 3})
    assert by_score["first"].to_dict() == pytest.approx({PROBABILITY: 1.0, SHIFT: 1 / 3})
    assert (by_score["chance"] == 2).all() and (by_score["words"] == 3).all()
    # of the six permutations of three words one gives every concept its own: only that is as good
    assert by_score["p_value"][PROBABILITY] == pytest.approx(1 / 6, abs=0.03)
    ranks = np.array([rankdata(row) for row in base - injected])
    means = [ranks[np.arange(3), list(order)].mean() for order in permutations(range(3))]
    as_good = np.mean([mean <= ranks.diagonal().mean() + 1e-9 for mean in means])
    assert by_score["p_value"][SHIFT] == pytest.approx(as_good, abs=0.03)
    assert naming_summary(table, rule).equals(found)
    once = naming_summary(table, rule.model_copy(update={"permutations": 1}))
    assert set(once["p_value"]) <= {0.5, 1.0}  # what is observed, of it and one permutation
    pair = table[table["vector"].isin(["a", "b"]) & table["word"].isin(["a", "b"])]
    assert naming_summary(pair, rule)["words"].tolist() == [2] * 4
    one = table[(table["vector"] == "a") & (table["word"] == "a")]
    assert naming_summary(pd.concat([one, pair.assign(prompt="after")]), rule)["prompt"].tolist() == ["after"] * 2


def test_what_is_at_least_as_far_counts_and_so_does_what_is_observed() -> None:
    under = np.array([[0.0, 1.0], [0.5, 1.0], [0.5, 0.0], [0.9, 2.0]])
    found = against_null(np.array([0.5, 1.5]), under)
    assert found["p_value"].tolist() == [(1 + 3) / 5, (1 + 1) / 5]
    assert found["bits_null"].tolist() == pytest.approx([0.475, 1.0])
    assert found["bits_corrected"].tolist() == pytest.approx([0.025, 0.5])


def test_a_null_is_the_same_by_the_same_seed() -> None:
    cells = one_hot(np.random.default_rng(0).integers(4, size=(3, 4, 2)))
    first, again, other = (null(cells, lambda drawn: information(drawn.sum(axis=0)), 20, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_an_interval_is_the_value_where_all_agree_and_within_them_elsewhere(settings: Settings) -> None:
    assert interval(np.array([0.25, 0.25, 0.25]), settings.which) == (0.25, 0.25)
    low, high = interval(np.array([0.0, 1.0, 1.0, 0.0]), settings.which)
    assert 0 <= low < 0.5 < high <= 1


def test_words_are_those_of_one_token(measured: tuple[Path, Directions], qwen2: LanguageModel) -> None:
    naming = NAMING.read(measured[0] / NAMING.name)
    assert all(qwen2.is_token(f" {word}") for word in set(naming["word"]))


def test_an_arm_without_its_question_is_refused(tmp_path: Path) -> None:
    for path in (ROOT / "data" / "prompts").glob("*.yaml"):
        text = path.read_text(encoding="utf-8").replace("question: liked", "question: loved")
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    with pytest.raises(StimuliError, match=r"which.yaml: .*no question 'loved'"):
        Stimuli(tmp_path).which()
