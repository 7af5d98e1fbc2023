"""The battery: its file, its answers against the two-phase procedure, and its line against planted effects."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from introspection.engine.batches import plan_batches
from introspection.engine.run import prefill
from introspection.engine.trial import Injection
from introspection.experiments.battery.measure import ask_battery, battery_conversations
from introspection.experiments.battery.statistics import battery_fit, battery_phrasings, line
from introspection.experiments.battery.tables import BATTERY, FIT, PHRASINGS
from introspection.injection.cells import cell_trials, cells_of, encode_all
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel, ModelError
from introspection.settings import BatterySettings
from introspection.stimuli.battery import CONTROLS, DETECTION
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Stimuli, StimuliError
from introspection.tables import csv_text
from tests.conftest import ROOT
from tests.reference import two_phase_logits

PROMPTS = ROOT / "data" / "prompts"
RULE = BatterySettings(resamples=200, confidence=0.9, seed=4)


# The file.


def test_it_asks_in_both_polarities_and_every_right_answer(stimuli: Stimuli) -> None:
    items = stimuli.battery().items
    wordings = {(item.text, item.polarity) for item in items if item.group == DETECTION}
    polarities = [polarity for _, polarity in wordings]
    assert len(wordings) >= 8 and polarities.count(1) == polarities.count(-1) == len(wordings) / 2
    for group in CONTROLS.values():
        assert len({item.text for item in items if item.group == group}) >= 12
    assert all((item.polarity is None) == (item.group != DETECTION) for item in items)


def test_what_yes_means_is_crossed_with_letter_and_order(stimuli: Stimuli) -> None:
    battery = stimuli.battery()
    letters = [battery.formats[name].answers for name in battery.of_kind("letters")]
    assert Counter(letters) == {(" A", " B"): 1, (" B", " A"): 1}
    words = [battery.formats[name].template for name in battery.of_kind("words")]
    assert [text.index("is yes") < text.index("is no") for text in words] == [True, False]
    cells = Counter((item.format, item.polarity) for item in battery.items if item.polarity)
    assert len(cells) == 8 and len(set(cells.values())) == 1
    pairs = Counter((item.pair, item.format) for item in battery.items if item.pair)
    assert set(pairs.values()) == {2}
    for name in battery.of_kind("letters"):
        text, answers = battery.formats[name].template, battery.formats[name].answers
        assert f"{answers.yes.strip()}: yes" in text and f"{answers.no.strip()}: no" in text


def test_no_organism_has_read_it_and_the_study_asks_none_of_it(stimuli: Stimuli) -> None:
    learned = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "data" / "organism").rglob("*.yaml"))
    studied = " ".join([*(each.question for each in stimuli.controls), stimuli.detection["info"][3].content])
    assert "Do you detect an injected thought" in learned and "Is water wet?" in learned
    for item in stimuli.battery().items:
        assert item.text.casefold() not in f"{learned} {studied}".casefold()
    for each in stimuli.battery().formats.values():
        assert each.template.replace("$QUESTION ", "") not in learned


def test_a_question_follows_turn_1_of_the_prompt(stimuli: Stimuli) -> None:
    battery = stimuli.battery()
    item = next(each for each in battery.items if each.format == "b_yes")
    conversation = stimuli.battery_conversation(battery, stimuli.detection["info"], item)
    assert conversation[:3] == stimuli.detection["info"][:3]
    assert [turn.injected for turn in conversation] == [False, True, True, False, False]
    assert (
        conversation[3].content == f'{item.text}\n\nA: no\nB: yes\n\nReply with "The answer is A" or "The answer is B".'
    )
    assert conversation[4].content == "The answer is"


def leave_one_pair(file: Any) -> None:
    """One format of each kind, and one pair."""
    del file["formats"]["no_yes"], file["formats"]["a_yes"], file["detection"][1]
    for questions in file["controls"].values():
        del questions[1]
    del file["detection"][0]["pairs"][1:]


Change = Callable[[Any], object]
WRONG: list[tuple[Change, str]] = [
    (lambda file: file.update(prompts=["none"]), "prompts: no prompt 'none' in detection.yaml"),
    (lambda file: file.update(promts=[]), "promts: Extra inputs"),
    (lambda file: file["detection"][0]["pairs"][0].pop("nothing"), "detection.0.pairs.0.nothing: Field required"),
    (
        lambda file: file["detection"][0].update(formats=["maybe"]),
        "is asked in 'maybe', which is not one of the formats",
    ),
    (lambda file: file["detection"].pop(), "detection questions: 8 in yes_no, 0 in no_yes"),
    (lambda file: file["detection"][0]["pairs"].pop(), "detection questions: 6 in yes_no, 8 in no_yes; ask as many"),
    (lambda file: file["detection"][0]["formats"].append("no_yes"), "is asked twice in words; ask it once"),
    (leave_one_pair, "detection questions: 2 in words; an interval needs at least 4"),
    (lambda file: file["controls"].pop("open"), "control_open questions: 0 in words"),
    (lambda file: file["controls"].update(maybe=[]), "controls.maybe"),
    (lambda file: file["controls"]["yes"][0]["questions"].pop(), "control_yes questions: 5 in yes_no, 6 in no_yes"),
    (lambda file: file["controls"]["no"][0]["questions"].append("Is ice hot?"), "control_no questions: 7 in yes_no"),
    (
        lambda file: file["controls"]["no"][1]["questions"].append("Is fire cold?"),
        "'Is fire cold?' is asked twice in words",
    ),
    (
        lambda file: file["formats"]["b_yes"].update(no=" C"),
        "those of letters have to be answered with the same two texts",
    ),
    (lambda file: file["formats"]["yes_no"].update(template="Well?"), "formats.yes_no.template"),
    (lambda file: file["formats"]["yes_no"].update(kind="numbers"), "formats.yes_no.kind"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_wrong_file_is_one_line_with_file_and_key(tmp_path: Path, change: Change, message: str) -> None:
    folder = Path(shutil.copytree(PROMPTS, tmp_path / "prompts"))
    path = folder / "battery.yaml"
    content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    with pytest.raises(StimuliError) as error:
        Stimuli(folder).battery()
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    assert message in str(error.value)


# The measurement.

INJECTIONS = [Injection("random_1", 4.0, 1, 3), Injection("random_2", 2.0, 2, 2)]


def test_answers_equal_the_two_phase_procedure(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    vectors = dict(random_vectors(qwen2, 2, seed=3))
    start = encode(qwen2.tokenizer, stimuli.detection["info"])
    itself = prefill(qwen2, start.token_ids[: start.steered[1]])  # the model itself in the finetune's place
    directions = {name: vector.directions for name, vector in vectors.items()}
    table = ask_battery(qwen2, stimuli, INJECTIONS, directions, {"info": itself})
    BATTERY.check(table)
    battery = stimuli.battery()
    count = len(battery.items)
    assert list(table["vector"]) == ["random_1"] * count + ["random_2"] * count + ["finetune"] * count
    columns = ["item", "group", "format"]
    assert table[columns].to_numpy().tolist() == 3 * [[each.text, each.group, each.format] for each in battery.items]
    for name, each in battery.formats.items():
        yes, no = (qwen2.token(text) for text in each.answers)
        place = int(np.flatnonzero(table["format"] == name)[-1]) - 2 * count
        item = battery.items[place]
        conversation = stimuli.battery_conversation(battery, stimuli.detection["info"], item)
        base = two_phase_logits(qwen2, conversation, None)
        injected = two_phase_logits(qwen2, conversation, vectors["random_1"], 4.0, (1, 3))
        assert abs(float((injected - base)[yes])) > 1e-3, "the injection does something"
        row = table.iloc[place]
        for arm, logits in (("base", base), ("injected", injected)):
            p = logits.double().softmax(0)
            assert row[f"p_yes_{arm}"] == pytest.approx(float(p[yes]), rel=2e-5)
            assert row[f"p_no_{arm}"] == pytest.approx(float(p[no]), rel=2e-5)
            assert row[f"answer_mass_{arm}"] == pytest.approx(float(p[yes] + p[no]), rel=2e-5)
            assert row[f"logit_difference_{arm}"] == pytest.approx(float(logits[yes] - logits[no]), abs=2e-5)
        assert table["p_yes_injected"][2 * count + place] == pytest.approx(row["p_yes_base"], rel=2e-5)


def test_turn_1_is_read_once_for_every_injection(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    questions = battery_conversations(stimuli, stimuli.battery())
    trials = cell_trials(encode_all(qwen2.tokenizer, questions), cells_of(list(questions), INJECTIONS))
    assert len(trials) == 3 * len(stimuli.battery().items)
    (batch,) = plan_batches(trials, blocks=5, tokens_per_batch=10**6)
    turn_1, rest = batch.passes
    assert turn_1.texts == [trials[0].prefix] and turn_1.cached == 0
    assert turn_1.tree.widths == [
        1,
        1,
        2,
        3,
        3,
    ]  # blocks 0 and 1 are the same in all; random_1 parts after 1, the rest after 2
    assert rest.cached == len(trials[0].prefix) and max(map(len, rest.texts)) < 100


def test_answers_that_are_no_tokens_show_before_anything_is_computed(
    qwen2: LanguageModel, stimuli: Stimuli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(PROMPTS, tmp_path / "prompts"))
    path = folder / "battery.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace('" B"', '" Bzzz"'), encoding="utf-8")
    monkeypatch.setattr("introspection.injection.answers.run_cells", lambda *_, **__: pytest.fail("computed"))
    with pytest.raises(ModelError, match=r"' Bzzz' is .* tokens"):
        ask_battery(qwen2, Stimuli(folder), INJECTIONS, {})


# The line and what it leaves.


def planted(
    bias: float = 0.0, slope: float = 1.0, effect: float = 0.0, letters: float = 0.0, noise: float = 0.0, seed: int = 0
) -> pd.DataFrame:
    """Answers that an injection moves by a line and, in detection, by an effect with the sign of the polarity.

    letters: the bias of questions answered with letters, whose effect is 0.
    """
    random = np.random.default_rng(seed)
    rows = []
    for answers, a, meant in (("words", bias, effect), ("letters", letters, 0.0)):
        for group, polarity, count in (
            (DETECTION, 1, 4),
            (DETECTION, -1, 4),
            *((g, None, 6) for g in CONTROLS.values()),
        ):
            for number in range(count):
                level = random.normal(1.0, 2.0)
                shift = a + (slope - 1) * level + meant * (polarity or 0) + noise * random.normal()
                rows.append(
                    {
                        "vector": "cat",
                        "prompt": "info",
                        "item": f"{group} {polarity} {number}",
                        "group": group,
                        "format": f"{answers} {number % 2}",
                        "answers": answers,
                        "polarity": polarity,
                        "pair": number + 1 if polarity else None,
                        "logit_difference_base": level,
                        "logit_difference_injected": level + shift,
                        "answer_mass_base": 0.9,
                        "answer_mass_injected": 0.6 if group == DETECTION else 0.8,
                    }
                )
    return pd.DataFrame(rows).astype({"polarity": "Int64", "pair": "Int64"})


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.floats(-5, 5), st.floats(0.05, 2), st.floats(-5, 5), st.floats(-5, 5))
def test_what_is_planted_is_found(bias: float, slope: float, effect: float, letters: float) -> None:
    table = planted(bias, slope, effect, letters)
    fit = battery_fit(table, RULE).set_index("answers")
    FIT.check(fit.reset_index()[[column.name for column in FIT.columns]])
    detection = table[(table["group"] == DETECTION) & (table["answers"] == "words")]
    level, polarity = detection["logit_difference_base"], detection["polarity"].astype(float)
    words = fit.loc["words"]
    close = {"abs": 1e-9}
    assert words[["bias", "slope", "residual"]].tolist() == pytest.approx([bias, slope, effect], **close)
    assert words["predicted"] == pytest.approx((slope - 1) * (level * polarity).mean(), **close)
    assert words["signed_shift"] == pytest.approx(words["predicted"] + effect, **close)
    assert words["detection_shift"] == pytest.approx(bias + (slope - 1) * level.mean(), **close)
    for end in ("low", "high"):  # on a line every draw of questions finds the same
        found = words[[f"bias_{end}", f"slope_{end}", f"residual_{end}"]].tolist()
        assert found == pytest.approx([bias, slope, effect], abs=1e-8)
    assert fit.loc["letters"][["bias", "slope", "residual"]].tolist() == pytest.approx([letters, slope, 0], **close)
    rest = battery_phrasings(table)
    PHRASINGS.check(rest)
    meant = effect * rest["polarity"].astype(float) * (rest["answers"] == "words")
    np.testing.assert_allclose(rest["residual"].astype(float), meant, atol=1e-9)


def test_the_line_is_that_of_least_squares() -> None:
    table = planted(0.7, 0.6, 1.5, noise=1.0)
    fit = battery_fit(table, RULE).set_index("answers").loc["words"]
    controls = table[(table["group"] != DETECTION) & (table["answers"] == "words")]
    shift = controls["logit_difference_injected"] - controls["logit_difference_base"]
    expected = sm.OLS(shift, sm.add_constant(controls["logit_difference_base"])).fit()
    assert [fit["bias"], fit["slope"] - 1] == pytest.approx(expected.params.tolist(), rel=1e-10)
    assert fit["control_shift"] == pytest.approx(shift.mean())


def test_intervals_cover_as_robust_standard_errors_do() -> None:
    """With many questions, a percentile interval of bias and slope is about that of HC3."""
    random = np.random.default_rng(1)
    table = pd.concat([planted(0.7, 0.6, noise=1.0, seed=seed) for seed in range(30)], ignore_index=True)
    table["item"] += [f" {number}" for number in range(len(table))]
    table["pair"] = table["pair"] + 4 * (np.arange(len(table)) * 30 // len(table))
    rule = BatterySettings(resamples=2000, confidence=0.95, seed=int(random.integers(100)))
    fit = battery_fit(table, rule).set_index("answers").loc["words"]
    controls = table[(table["group"] != DETECTION) & (table["answers"] == "words")]
    shift = controls["logit_difference_injected"] - controls["logit_difference_base"]
    robust = sm.OLS(shift, sm.add_constant(controls["logit_difference_base"])).fit(cov_type="HC3").conf_int()
    for name, (low, high), moved in zip(("bias", "slope"), robust.to_numpy(), (0, 1), strict=True):
        width = high - low
        assert fit[f"{name}_low"] == pytest.approx(low + moved, abs=0.15 * width)
        assert fit[f"{name}_high"] == pytest.approx(high + moved, abs=0.15 * width)


@pytest.mark.parametrize(("confidence", "low", "high"), [(0.9, 0.0, 2.0), (0.4, 1.0, 1.0)])
def test_the_interval_is_that_of_all_draws(confidence: float, low: float, high: float) -> None:
    """Pairs whose residuals are 0 and 0, and 4 and 0: a draw has a mean of 0, 1 or 2 in 1, 2 and 1 of 4 cases."""
    table = planted()
    table = table[(table["group"] != DETECTION) | table["item"].str.endswith((" 0", " 1"))]
    moved = (table["item"] == f"{DETECTION} 1 1") & (table["answers"] == "words")
    table.loc[moved, "logit_difference_injected"] += 4.0
    fit = battery_fit(table, BatterySettings(resamples=4000, confidence=confidence, seed=0)).iloc[0]
    assert (fit["residual"], fit["phrasings"], fit["controls"]) == (pytest.approx(1.0), 4, 6 * len(CONTROLS))
    assert [fit["residual_low"], fit["residual_high"]] == pytest.approx([low, high], abs=1e-9)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    table = planted(0.5, 0.8, 1.0, noise=1.0)
    first, again = (csv_text(battery_fit(table, RULE)) for _ in range(2))
    assert first == again
    assert csv_text(battery_fit(table, RULE.model_copy(update={"seed": 5}))) != first


def test_every_injection_is_measured_by_the_same_draws() -> None:
    cat = planted(0.5, 0.8, 1.0, noise=1.0)
    both = pd.concat([cat, cat.assign(vector="bread")], ignore_index=True)
    fit = battery_fit(both, RULE)
    assert list(fit["vector"]) == ["cat", "cat", "bread", "bread"]
    pd.testing.assert_frame_equal(
        fit[fit["vector"] == "cat"].drop(columns="vector"),
        fit[fit["vector"] == "bread"].drop(columns="vector").set_axis([0, 1]),
    )


def test_right_answers_and_masses_are_counted_by_hand() -> None:
    table = planted()
    yes, no = (table["group"] == CONTROLS[answer] for answer in ("yes", "no"))
    table.loc[yes, "logit_difference_base"] = [1.0, 1.0, 1.0, -1.0, 0.0, -2.0] * 2  # a tie is no answer
    table.loc[no, "logit_difference_base"] = [-1.0, 3.0, 3.0, 3.0, 0.0, 2.0] * 2
    table["logit_difference_injected"] = table["logit_difference_base"] + 10.0
    row = battery_fit(table, RULE).iloc[0]
    assert row["accuracy_base"] == pytest.approx((3 / 6 + 1 / 6) / 2)
    assert row["accuracy_injected"] == pytest.approx((6 / 6 + 0) / 2)
    masses = [row[f"{name}_mass_{arm}"] for name in ("control", "detection") for arm in ("base", "injected")]
    assert masses == pytest.approx([0.9, 0.8, 0.9, 0.6])


def test_no_line_fits_answers_that_are_all_the_same() -> None:
    with pytest.raises(ValueError, match=r"^the control questions' unsteered answers do not differ"):
        line(np.ones(5), np.arange(5.0))
    bias, slope = line(np.array([0.0, 1e-3]), np.array([0.0, 2e-3]))  # however little they differ
    assert (float(bias), float(slope)) == pytest.approx((0.0, 3.0))


def test_phrasings_of_all_parts_are_numbered_on() -> None:
    table = battery_phrasings(planted())
    assert list(table.index) == list(range(16)) and list(table["answers"]) == ["words"] * 8 + ["letters"] * 8


def test_a_wording_is_paired_with_its_own_reversal_wherever_they_stand() -> None:
    """What is drawn together are pairs: in another order of the table the same are drawn, and found is the same."""
    table = planted(noise=1.0)
    turned = pd.concat([table[table["polarity"].isna()], table[table["polarity"].notna()].iloc[::-1]])
    fit, again = (battery_fit(each, RULE).set_index("answers").loc["words"] for each in (table, turned))
    assert again.drop(["vector", "prompt"]).tolist() == pytest.approx(fit.drop(["vector", "prompt"]).tolist())


def test_as_many_are_drawn_anew_as_are_asked_for() -> None:
    """Of one draw both ends of an interval are what it found."""
    fit = battery_fit(planted(noise=1.0), RULE.model_copy(update={"resamples": 1})).iloc[0]
    assert fit["residual_low"] == fit["residual_high"] and fit["bias_low"] == fit["bias_high"]
    assert fit["residual_low"] != fit["residual"]
