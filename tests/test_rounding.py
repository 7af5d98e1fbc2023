"""The two roundings against PyTorch's bfloat16 and Python's printing."""

import math
from collections import defaultdict
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from introspection.rereading.rounding import (
    Interval,
    allowed_probability,
    bfloat16_spacing,
    logit,
    printed_bfloat16s,
    round_to_bfloat16,
    sigmoid,
)

probabilities = st.floats(min_value=2**-15, max_value=1, width=32)


def to_bfloat16(value: float) -> float:
    return torch.tensor(value, dtype=torch.float32).to(torch.bfloat16).item()


def as_printed(value: float) -> str:
    """As the study prints a probability, in percent with three decimals, written as a fraction."""
    return f"{int(f'{100 * value:.3f}'.replace('.', '')) / 100_000:.5f}"


def all_bfloat16s() -> list[float]:
    """Every bfloat16 number from 0 to 1, by its bits."""
    values = torch.arange(2**15, dtype=torch.int16).view(torch.bfloat16)
    return values[values <= 1].tolist()


def test_printed_bfloat16s_are_all_that_print_so() -> None:
    by_print = defaultdict(list)
    for value in all_bfloat16s():
        by_print[as_printed(value)].append(value)
    for printed, values in by_print.items():
        if printed == "0.00000":
            continue
        found = [float(number) for number in printed_bfloat16s(printed)]
        half_way = Fraction(1, 200_000)
        extra = [value for value in found if value not in values]
        assert sorted({*values, *extra}) == found
        assert all(abs(Fraction(value) - Fraction(printed)) == half_way for value in extra)  # a tie


@pytest.mark.parametrize("printed", ["0.52368", "0.99500", "0.90001", "0.30000"])
def test_what_no_bfloat16_prints_as_is_refused(printed: str) -> None:
    assert printed not in {as_printed(value) for value in all_bfloat16s()}
    assert printed_bfloat16s(printed) == []
    with pytest.raises(ValueError, match=printed):
        allowed_probability(printed)


def test_fewer_digits_allow_more() -> None:
    assert [float(number) for number in printed_bfloat16s("1.00")] == [255 / 256, 1.0]  # 100%
    assert [float(number) for number in printed_bfloat16s("1.00000")] == [1.0]  # 100.000%
    assert allowed_probability("1.00") == Interval(254.5 / 256, 1.0)
    assert allowed_probability("1.00000") == Interval(255.5 / 256, 1.0)


@settings(deadline=None)
@given(probabilities)
@example(0.5)
@example(0.015625)  # 1.5625%: prints as a tie
@example(2**-9)
@example(511 / 512)
def test_a_probability_lies_in_what_its_print_allows(probability: float) -> None:
    allowed = allowed_probability(as_printed(to_bfloat16(probability)))
    assert allowed.low <= probability <= allowed.high


@settings(deadline=None)
@given(probabilities)
def test_nothing_outside_prints_the_same(probability: float) -> None:
    printed = as_printed(to_bfloat16(probability))
    allowed = allowed_probability(printed)
    for outside in (allowed.low * (1 - 1e-6), allowed.high * (1 + 1e-6)):
        assert as_printed(to_bfloat16(outside)) != printed or outside > 1


@settings(deadline=None)
@given(st.floats(min_value=-(2.0**20), max_value=2.0**20, width=32))
def test_rounding_is_pytorchs(value: float) -> None:
    if value == 0 or abs(value) > 1e-30:
        assert float(round_to_bfloat16(Fraction(value))) == to_bfloat16(value)


@settings(deadline=None)
@given(st.integers(min_value=2**12, max_value=2**14))  # the bits of numbers of the normal range
def test_spacing_is_to_the_next_number(bits: int) -> None:
    value, following = torch.tensor([bits, bits + 1], dtype=torch.int16).view(torch.bfloat16).tolist()
    assert value + float(bfloat16_spacing(Fraction(value))) == following


@settings(deadline=None)
@given(st.floats(min_value=-20, max_value=20))
def test_logit_and_sigmoid_undo_each_other(log_odds: float) -> None:
    assert sigmoid(log_odds) == pytest.approx(torch.sigmoid(torch.tensor(log_odds, dtype=torch.float64)).item())
    assert sigmoid(log_odds) + sigmoid(-log_odds) == pytest.approx(1)
    assert logit(sigmoid(log_odds)) == pytest.approx(log_odds, abs=1e-6)


def test_the_ends_of_log_odds() -> None:
    assert (logit(0.0), logit(0.5), logit(1.0)) == (-math.inf, 0.0, math.inf)


intervals = st.tuples(st.floats(-5, 5), st.floats(0, 5)).map(lambda pair: Interval(pair[0], pair[0] + pair[1]))


@settings(deadline=None)
@given(intervals, intervals, st.floats(0, 1), st.floats(0, 1))
def test_a_difference_holds_every_difference(one: Interval, other: Interval, at: float, other_at: float) -> None:
    value = min(one.low + at * (one.high - one.low), one.high)
    other_value = min(other.low + other_at * (other.high - other.low), other.high)
    found = one - other
    assert found.low - 1e-12 <= value - other_value <= found.high + 1e-12
    assert one.overlaps(other) == (found.low <= 0 <= found.high)
