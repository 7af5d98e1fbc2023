"""The post's figures as data, against the post; and what is computed from them, against PyTorch and by hand."""

import csv
import hashlib
import itertools
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from introspection.files import ResultError
from introspection.rereading import analysis
from introspection.rereading.analysis import Published, PublishedError, read_published
from tests.processes import run_script

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data" / "published"
LOGITS = 0.5  # nats by which four logits, each off by half a step of an eighth, leave a shift open
PRINTED = 0.06  # and what the softmax in bfloat16 and its digits add at the most
POST = ROOT.parent / "shared" / "seed" / "post.txt"

# sha256 of the post's tables as written out by `tables_of_the_post`, and of its quotes and replies that the data
# repeat, for where the post is not at hand.
TABLES_DIGEST = "03ad321f3a740f1536656510b73381413f600e959997d61484051dd173d755ab"
QUOTES_DIGEST = "4254b40bf432d847287f0e96de16967ccbaf32e3da5f47e290e3f0d9fbb4394a"

LABELS = {
    "cat": "inject 'cat'",
    "bread": "inject 'bread'",
    "persona": "EM vector",
    "finetune": "EM finetune",
}
PROMPTS = {
    "no info": "no_info",
    "with info": "info",
    "w/ info": "info",
    "inaccurate location": "inaccurate_location",
    "lorem ipsum": "lorem_ipsum",
}


def digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def tables_of_the_post(post: str) -> set[str]:
    """Every row of its tables of shifts: place, label, prompt, and the percentages in their order."""
    lines = set()
    for section in post.split("permalink for ")[1:]:
        title = section.split(" ", 1)[0]
        joined = re.sub(r"\n(?=[(\d])", " ", section)  # some cells are broken over lines
        for line in joined.split("\n"):
            if "% ->" not in line:
                continue
            label, prompt = re.match(r"(.*?)(?: \((.*?)\))?(?=[\d.]+%)", line).groups()
            numbers = re.findall(r"[+-]?[\d.]+%", line)
            place = "layers 18-33" if title == "Layer_sweeps" else "layers 21-42"
            kind = "controls" if len(numbers) == 8 else PROMPTS[prompt or "no info"]
            lines.add(" ".join([place, label, kind, *numbers]))
    return lines


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def percent(fraction: str, sign: str = "") -> str:
    return format(Decimal(fraction).scaleb(2), f"{sign}f") + "%"


def tables_of_the_data() -> set[str]:
    """The same lines from data/published."""
    lines = set()
    for name in ("detection.csv", "controls.csv"):
        for row in rows(name):
            place = "layers 18-33" if row["first_layer"] == "18" else "layers 21-42"
            words = [place, LABELS[row["vector"]], row.get("prompt", "controls")]
            for answer in ("yes", "no"):
                words += [percent(row[f"p_{answer}_{arm}_bf16"]) for arm in ("base", "injected")]
                words.append(percent(row[f"p_{answer}_shift"], "+"))
                if "prompt" not in row:
                    words.append(percent(row[f"p_{answer}_shift_std"]))
            lines.add(" ".join(words))
    return lines


def test_every_table_of_the_post_is_there_digit_for_digit() -> None:
    ours = tables_of_the_data()
    if POST.exists():
        assert ours == tables_of_the_post(POST.read_text(encoding="utf-8"))
    assert len(ours) == 18
    assert digest(sorted(ours)) == TABLES_DIGEST


def test_quotes_and_replies_are_the_posts_words() -> None:
    quotes = [row["quote"] for name in ("comparisons.csv", "statements.csv") for row in rows(name)]
    quotes += [row["text"] for row in rows("samples.csv")]
    if POST.exists():
        post = POST.read_text(encoding="utf-8")
        assert [quote for quote in quotes if quote not in post] == []
        replies = re.findall(
            r"^Assistant .* (?:strength|Finetuned).*\n(I'm thinking about.*)$", post, flags=re.MULTILINE
        )
        assert sorted(replies) == sorted(row["text"] for row in rows("samples.csv") if row["prompt"] == "top_of_mind")
    assert digest(quotes) == QUOTES_DIGEST


def test_keys() -> None:
    detection = rows("detection.csv")
    places = [tuple(row[column] for column in analysis.KEY) for row in detection]
    assert len(set(places)) == len(places) == 14
    assert {row["strength"] for row in detection if row["vector"] == "persona"} == {"10"}
    assert {(row["strength"], row["first_layer"]) for row in detection if row["vector"] == "finetune"} == {("", "")}
    assert sum(row["first_layer"] == "18" for row in detection) == 4
    assert detection[0]["source"] == "introduction; experiment 1; experiment 2; experiment 4"
    assert [row["vector"] for row in rows("controls.csv")] == ["cat", "bread", "persona", "finetune"]


# A softmax over the bfloat16 logits of yes, no and other tokens, printed as the post prints it.


def as_printed(value: float) -> str:
    return format(Decimal(f"{100 * value:.3f}").scaleb(-2), "f")


def torch_softmax(yes: float, no: float, others: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """(p_yes, p_no) rounded to bfloat16 by PyTorch, and as they are in float64."""
    logits = torch.tensor([yes, no, *others]).to(torch.bfloat16)
    return torch.softmax(logits, 0)[:2], torch.softmax(logits.double(), 0)[:2]


def detection_row(base: torch.Tensor, injected: torch.Tensor, **key: str) -> dict[str, str]:
    shift = injected - base  # in bfloat16
    figures = {
        f"p_{answer}_{arm}_bf16": as_printed(values[index].item())
        for index, answer in enumerate(("yes", "no"))
        for arm, values in (("base", base), ("injected", injected))
    }
    shifts = {f"p_{answer}_shift": as_printed(shift[index].item()) for index, answer in enumerate(("yes", "no"))}
    place = dict(zip(analysis.KEY, ("cat", "info", "20", "21", "42"), strict=True))
    return place | figures | shifts | {"source": "simulated"} | key


# no, yes: eighths from 16 to 32, near enough to each other that both print with digits that tell
logit_pairs = (
    st.tuples(st.integers(128, 255), st.integers(-60, 60))
    .filter(lambda pair: 128 <= sum(pair) <= 255)
    .map(lambda pair: (pair[0] / 8, sum(pair) / 8))
)
other_logits = st.lists(st.integers(0, 80), max_size=20)


@settings(deadline=None, max_examples=50)
@given(logit_pairs, logit_pairs, other_logits)
def test_planted_logits_are_recovered(
    base: tuple[float, float], injected: tuple[float, float], others: list[int]
) -> None:
    """Softmaxes that PyTorch makes of logits on the grid fit it, and every interval holds the truth."""
    pairs = []
    for no, yes in (base, injected):
        below = [min(no, yes) - 8 - other / 8 for other in others]  # bfloat16 rounds these, as it may
        pairs.append(torch_softmax(yes, no, below))
    (base_rounded, base_exact), (injected_rounded, injected_exact) = pairs
    table = pd.DataFrame([detection_row(base_rounded, injected_rounded)])

    grid = analysis.grid_test(table)
    assert list(grid["steps"]) == [round(8 * (yes - no)) for no, yes in (base, injected)]
    assert grid["fits"].all()
    for (_, row), exact in zip(grid.iterrows(), (base_exact, injected_exact), strict=True):
        assert row["other_mass_low"] - 1e-6 <= 1 - exact.sum().item() <= row["other_mass_high"] + 1e-6
    (shift,) = analysis.shifts(table).to_dict("records")
    truth = (torch.logit(injected_exact[0]) - torch.logit(base_exact[0])).item()
    assert shift["log_odds_shift_low"] - 1e-5 <= truth <= shift["log_odds_shift_high"] + 1e-5
    assert shift["logit_shift"] == pytest.approx((injected[1] - injected[0]) - (base[1] - base[0]))
    assert analysis.differences(table)["rounded_again"].all()
    assert analysis.significands(table)["fits"].all()


def test_logits_off_the_grid_are_told_from_logits_on_it() -> None:
    """Float32 logits rounded only after the softmax fit no better than chance; float32 softmaxes print off bfloat16."""
    generator = torch.Generator().manual_seed(0)
    off_grid, unrounded = [], []
    for number in range(40):
        yes, no = (torch.rand(2, 2, generator=generator) * 6 + 16).unbind()
        exact = torch.softmax(torch.stack([yes, no]), 0)
        key = {"prompt": f"prompt {number}"}
        off_grid.append(detection_row(*exact.to(torch.bfloat16).unbind(1), **key))
        unrounded.append(detection_row(*exact.unbind(1), **key))
    grid = analysis.grid_test(pd.DataFrame(off_grid))
    fits, expected = int(grid["fits"].sum()), grid["chance"].sum()
    assert len(grid) == 80
    assert abs(fits - expected) < 4 * math.sqrt(expected)
    assert fits < 20
    figures = analysis.significands(pd.DataFrame(unrounded))
    assert figures["fits"].sum() < 0.25 * len(figures)
    assert analysis.differences(pd.DataFrame(unrounded))["rounded_again"].mean() < 0.1


@pytest.fixture(scope="module")
def tables() -> Published:
    return read_published(DATA)


def test_pytorch_prints_the_posts_figures_from_logits_on_the_grid(tables: Published) -> None:
    """Each softmax of the post, made again: two logits as far apart as found, and other tokens with what is left."""
    grid = analysis.grid_test(tables.detection)
    assert len(grid) == 20
    assert grid["fits"].all()
    for row in grid.to_dict("records"):
        no = 24.0
        mass = (row["other_mass_low"] + row["other_mass_high"]) / 2
        each = math.exp(12.0) / (math.exp(no) * (1 + math.exp(row["grid"])))  # a token's mass at a logit of 12
        (p_yes, p_no), _ = torch_softmax(no + row["grid"], no, [12.0] * round(mass / each))
        decimals = -Decimal(row["p_no"]).as_tuple().exponent
        assert as_printed(p_yes.item()) == row["p_yes"]
        assert as_printed(p_no.item())[: decimals + 2] == row["p_no"]


def test_the_grid_of_one_eighth_is_the_coarsest_that_all_fit(tables: Published) -> None:
    found = analysis.spacings(tables.detection).set_index("spacing")
    assert found.index[found["fits"] == 20].max() == 0.125
    assert (found.loc[0.125, "logits_from"], found.loc[0.125, "logits_to"]) == (16, 32)
    assert (torch.tensor([16.0, 16.125, 31.875]).to(torch.bfloat16) == torch.tensor([16.0, 16.125, 31.875])).all()
    assert found.loc[0.25, "fits"] < 20
    chances = analysis.grid_test(tables.detection)["chance"]
    assert found.loc[0.125, "chance"] == pytest.approx(math.prod(chances))
    assert found.loc[0.125, "chance"] < 1e-15


def test_the_chance_of_so_many_fits_counts_every_outcome(tables: Published) -> None:
    few = tables.detection.iloc[[2, 3, 10, 11]]
    for spacing in (0.5, 0.25):
        grid, (row,) = analysis.grid_test(few, spacing), analysis.spacings(few, [spacing]).to_dict("records")
        outcomes = itertools.product([True, False], repeat=len(grid))
        expected = sum(
            math.prod(chance if hit else 1 - chance for hit, chance in zip(outcome, grid["chance"], strict=True))
            for outcome in outcomes
            if sum(outcome) >= grid["fits"].sum()
        )
        assert 0 < row["fits"] < len(grid)
        assert row["chance"] == pytest.approx(expected)


def test_shifts_by_hand(tables: Published) -> None:
    """ln(p / (1 - p)) from the printed figures with a pocket calculator, and a width that fits the roundings."""
    found = analysis.shifts(tables.detection).set_index(["vector", "prompt", "first_layer"])
    by_hand = {
        ("cat", "no_info", "21"): (-6.5008, -5.2500),
        ("cat", "info", "21"): (-4.8760, 0.1252),
        ("cat", "lorem_ipsum", "21"): (-8.5170, -3.1274),
        ("bread", "info", "18"): (-5.0019, 0.9971),
    }
    for place, (base, injected) in by_hand.items():
        row = found.loc[place]
        assert row["log_odds_base"] == pytest.approx(base, abs=1e-4)
        assert row["log_odds_injected"] == pytest.approx(injected, abs=1e-4)
        assert row["log_odds_shift"] == pytest.approx(injected - base, abs=2e-4)
    assert (found["log_odds_shift_low"] < found["log_odds_shift"]).all()
    assert (found["log_odds_shift"] < found["log_odds_shift_high"]).all()
    widths = found["log_odds_shift_high"] - found["log_odds_shift_low"]
    assert widths.min() > LOGITS and widths.max() < LOGITS + PRINTED
    off = (found["logit_shift"] - found["log_odds_shift"]).abs()
    assert off.max() < 0.03
    assert found.loc[("cat", "lorem_ipsum", "21"), "logit_shift"] == 5.375  # 43 eighths
    assert found.loc[("cat", "info", "21"), "logit_shift"] == 5.0


def test_differences_are_rounded_to_bfloat16_once_more(tables: Published) -> None:
    """53.125% less 0.757% is 52.368%, which no bfloat16 is; the post prints the nearest, 134/256."""
    found = analysis.differences(tables.detection)
    assert found["rounded_again"].all()
    assert len(found) == 28
    row = found.iloc[2]
    assert (row["base"], row["injected"], row["difference"]) == ("0.00757", "0.53125", "0.52344")
    assert not row["of_printed"]
    assert not row["of_bfloat16"]
    assert found["of_printed"].sum() < 28


def test_the_order_that_changes(tables: Published) -> None:
    found = analysis.comparisons(tables).set_index("comparison")
    assert len(found) == 26
    # 5.00 nats under info, 5.39 under lorem ipsum: a reversal by less than the logits' rounding leaves open
    lorem = found.loc["info_above_lorem_ipsum_shift"]
    assert (lorem["in_probability"], lorem["in_log_odds"]) == ("holds", "undecided")
    # without info the emergent-misalignment shifts are above the concepts', in the post's own percentages
    assert {name for name in found.index if found.loc[name, "in_probability"] == "reversed"} == {
        "cat_above_finetune_no_info",
        "bread_above_persona_no_info",
        "bread_above_finetune_no_info",
    }
    for name, row in found.iterrows():
        injected = row["quantity"] == "injected"
        assert not (injected and row["changes"]), name  # log-odds grow with the probability


def test_a_shift_is_decided_where_it_is_beyond_the_rounding_of_the_logits(tables: Published) -> None:
    """By the shifts at the printed figures: apart by more than all roundings, or by less than those of the logits."""
    shifts = analysis.shifts(tables.detection).set_index(analysis.PLACE)["log_odds_shift"]
    judged = 0
    for row in analysis.comparisons(tables).to_dict("records"):
        places = [tuple(row[f"{side}_{column}"] for column in analysis.PLACE) for side in ("left", "right")]
        if row["quantity"] != "shift" or not all(place in shifts.index for place in places):
            continue
        apart = shifts[places[0]] - shifts[places[1]]
        judged += 1
        if abs(apart) < LOGITS:
            assert row["in_log_odds"] == "undecided", row["comparison"]
        if abs(apart) > LOGITS + PRINTED:
            assert row["in_log_odds"] == ("holds" if apart > 0 else "reversed"), row["comparison"]
    assert judged > 15


def test_a_quote_holds_where_all_its_cells_do() -> None:
    verdicts = {("holds", "holds"): "holds", ("holds", "undecided"): "undecided", ("holds", "reversed"): "reversed"}
    for cells, verdict in verdicts.items():
        assert analysis.verdict_of_quote(pd.Series(cells)) == verdict


def test_verdicts_and_bad_comparisons(tables: Published) -> None:
    (line,) = analysis.comparisons(
        replace(tables, comparisons=tables.comparisons[tables.comparisons["comparison"] == "cat_above_bread"])
    ).to_dict("records")
    assert (line["in_probability"], line["in_log_odds"]) == ("holds", "holds")

    def judge(**change: str) -> dict[str, object]:
        row = tables.comparisons[tables.comparisons["comparison"] == "cat_above_bread"].assign(**change)
        return analysis.comparisons(replace(tables, comparisons=row)).iloc[0].to_dict()

    assert judge(right_vector="cat")["in_log_odds"] == "undecided"  # against itself
    swapped = judge(left_vector="bread", right_vector="cat")
    assert (swapped["in_probability"], swapped["in_log_odds"]) == ("reversed", "reversed")
    with pytest.raises(PublishedError, match="no row dog no_info 21 42"):
        judge(left_vector="dog")
    with pytest.raises(PublishedError, match="quantity 'size'; allowed: injected, shift, lift"):
        judge(quantity="size")


def test_reversals_are_all_pairs_whose_order_differs(tables: Published) -> None:
    """Against every corner of what the roundings leave open: each of the four log-odds at either end."""
    found = analysis.reversals(tables.detection)
    rows = tables.detection.to_dict("records")
    open_by = (LOGITS + PRINTED) / 4  # of an arm, to either side, and a little more than that

    def least(above: dict[str, str], below: dict[str, str], scale: Callable[[float], float]) -> float:
        ends = [
            [log_odds(row[f"p_yes_{arm}_bf16"]) + side * open_by for side in (-1, 1)]
            for row in (above, below)
            for arm in ("injected", "base")
        ]
        return min(
            (scale(one) - scale(two)) - (scale(three) - scale(four))
            for one, two, three, four in itertools.product(*ends)
        )

    certain = {
        (tuple(above[column] for column in analysis.KEY), tuple(below[column] for column in analysis.KEY))
        for above, below in itertools.permutations(rows, 2)
        if least(above, below, lambda x: 1 / (1 + math.exp(-x))) > 0 and least(below, above, lambda x: x) > 0
    }
    assert certain
    reported = {
        tuple(tuple(row[f"{side}_{column}"] for column in analysis.KEY) for side in ("above", "below"))
        for row in found.to_dict("records")
    }
    assert certain <= reported
    for above, below in reported - certain:  # within what printing adds to the logits' rounding
        by_key = {tuple(row[column] for column in analysis.KEY): row for row in rows}
        assert least(by_key[above], by_key[below], lambda x: 1 / (1 + math.exp(-x))) > -0.01
        assert least(by_key[below], by_key[above], lambda x: x) > -PRINTED


def log_odds(printed: str) -> float:
    return math.log(float(printed) / (1 - float(printed)))


def test_the_info_prompt_moves_the_baseline(tables: Published) -> None:
    found = analysis.prompt_effects(tables.detection)
    lorem = found[found["against"] == "lorem_ipsum"].iloc[0]
    assert lorem["baseline_low"] > 3.3  # nats nearer to even odds, before any injection
    assert lorem["shift_low"] < math.log(53.125 / 46.875) + 4.876 - (8.517 - 3.1274) < lorem["shift_high"]
    for row in found.to_dict("records"):
        for end in ("low", "high"):  # injected = baseline + shift, for the ends' middles too
            assert math.isfinite(row[f"injected_{end}"])
        middle = {part: (row[f"{part}_low"] + row[f"{part}_high"]) / 2 for part in ("injected", "baseline", "shift")}
        assert middle["injected"] == pytest.approx(middle["baseline"] + middle["shift"])
    assert len(found) == 8


def test_two_tables_disagree_about_the_unsteered_model(tables: Published) -> None:
    found = analysis.disagreements(tables.detection)
    yes, no = found[found["answer"] == "yes"].set_index("prompt"), found[found["answer"] == "no"]
    assert no["agrees"].all()
    assert list(yes.index) == ["no_info", "info"]
    assert not yes["agrees"].any()
    assert (yes.loc["no_info", "printed"], yes.loc["no_info", "other_printed"]) == ("0.00150", "0.00170")
    assert (yes.loc["info", "printed"], yes.loc["info", "other_printed"]) == ("0.00757", "0.00668")
    assert list(yes["steps"]) == [1, -1]  # one step of the grid each, in opposite directions
    by_hand = math.log(0.0017 / 0.9983) - math.log(0.0015 / 0.9985)
    assert yes.loc["no_info", "difference_low"] < by_hand < yes.loc["no_info", "difference_high"]


def test_control_means(tables: Published) -> None:
    found = analysis.control_shifts(tables.controls).set_index("vector")
    finetune = found.loc["finetune"]
    assert finetune["log_odds_shift"] == pytest.approx(math.log(16), abs=1e-3)
    assert finetune["log_odds_shift_low"] == pytest.approx(math.log(15.5 / 1.5) - LOGITS / 2, abs=0.01)
    assert finetune["log_odds_shift_high"] == pytest.approx(math.log(16.5 / 0.5) + LOGITS / 2, abs=0.01)


def test_summary_counts_what_the_tables_hold(tables: Published) -> None:
    found = analysis.summary(tables).set_index("quantity")["value"]
    judged = analysis.comparisons(tables)
    assert found["softmaxes"] == found["grid_fits"] == 20
    assert found["figures"] == found["figures_fit"] == 40
    assert found["comparisons_that_change"] == judged["changes"].sum()
    for scale in ("probability", "log_odds"):
        verdicts = [found[f"comparisons_{verdict}_in_{scale}"] for verdict in ("holds", "reversed", "undecided")]
        assert sum(verdicts) == found["comparisons"] == len(judged)
    assert found["reversals"] == len(analysis.reversals(tables.detection))


def test_unreadable_data_is_named(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DATA, tmp_path / "published"))
    table = pd.read_csv(folder / "controls.csv", dtype=str).drop(columns="p_yes_shift")
    table.to_csv(folder / "controls.csv", index=False)
    with pytest.raises(ResultError, match=r"controls\.csv: no column 'p_yes_shift' among"):
        read_published(folder)
    (folder / "detection.csv").unlink()
    with pytest.raises(ResultError, match=r"detection\.csv: cannot be read"):
        read_published(folder)


def test_the_stage_writes_the_same_tables_twice(tmp_path: Path, tables: Published) -> None:
    shutil.copytree(DATA, tmp_path / "data" / "published")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    written = []
    for _ in range(2):
        assert run_script(tmp_path, ROOT / "stages" / "published.py").returncode == 0
        written.append({path.name: path.read_bytes() for path in (tmp_path / "results" / "published").iterdir()})
    assert written[0] == written[1]
    read = pd.read_csv(tmp_path / "results" / "published" / "shifts.csv", dtype=str, keep_default_na=False)
    shifts = analysis.shifts(tables.detection)
    assert list(read.columns) == list(shifts.columns)
    assert list(read["p_yes_base_bf16"]) == list(shifts["p_yes_base_bf16"])
    assert read["log_odds_shift"].astype(float).to_list() == pytest.approx(shifts["log_odds_shift"].to_list(), rel=1e-8)
