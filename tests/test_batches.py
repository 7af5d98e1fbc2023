"""Plans of batches and the work that is counted from them, against rows one by one and closed forms. No model."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from introspection.engine.batches import plan_after_turn_1, plan_batches
from introspection.engine.tree import spans_of
from introspection.engine.trial import Injection, Trial
from introspection.engine.work import Work, block_evaluations, count_work, work_of_batches

BLOCKS = 3
ARMS = st.sampled_from([(), (Injection("v", 1.0, 1, 1),), (Injection("v", 2.0, 0, 2, (1,)), Injection("w", 1.0, 2, 2))])


@st.composite
def trials(draw: st.DrawFn) -> list[Trial]:
    """Rows of which many share a turn 1, an injection or a beginning."""
    found = []
    for _ in range(draw(st.integers(1, 8))):
        turn_1 = (draw(st.sampled_from([7, 8])),) * draw(st.integers(2, 4))
        rest = tuple(draw(st.lists(st.integers(1, 2), max_size=5)))
        found.append(Trial(turn_1 + rest, (0, len(turn_1)), draw(ARMS)))
    return found


@given(trials(), st.sampled_from([1, 9, 30, 10**9]))
def test_every_row_is_read_once_from_a_text_that_it_begins(rows: list[Trial], tokens: int) -> None:
    batches = plan_batches(rows, BLOCKS, tokens)
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(rows)))
    for batch in batches:
        assert batch.trials == tuple(rows[row] for row in batch.rows)
        for trial, (_, text) in zip(batch.trials, batch.slots, strict=True):
            assert text[: len(trial.token_ids)] == trial.token_ids
            assert batch.prefix in (0, len(trial.prefix))
        slots = {*batch.slots}
        if not batch.prefix:
            assert len(slots) == 1 or len(slots) * max(len(text) for _, text in slots) <= tokens
        read = [row for each in batch.passes[batch.prefix > 0 :] for row in each.rows]
        assert sorted(read) == list(range(len(batch.rows)))
        for each in batch.passes:
            assert len(each.texts) == each.tree.widths[0] == len({*each.tree.slots[0]})
            lengths = [each.cached + len(text) for text in each.texts]
            assert 5 * min(lengths) >= 4 * max(lengths)


@given(trials(), st.booleans())
def test_halves_are_the_same_rows_read_in_the_same_way(rows: list[Trial], shared: bool) -> None:
    rows = [Trial((7, 7, 7, *row.token_ids[row.turn_1[1] :], 1), (0, 3), row.injections) for row in rows]
    plan = plan_after_turn_1(rows, range(len(rows)), BLOCKS, 10**9) if shared else plan_batches(rows, BLOCKS, 10**9)
    for batch in (each for each in plan if len(each.rows) > 1):
        first, second = batch.halves()
        assert first.rows + second.rows == batch.rows and len(second.rows) - len(first.rows) in (0, 1)
        for half in (first, second):
            assert half.prefix == batch.prefix
            assert half.trials == tuple(rows[row] for row in half.rows)
            alone = [text for _, text in half.slots]
            assert {*alone} <= {row.token_ids for row in half.trials}, "a text of the other half"


def lengths_of_passes(*lengths: int) -> list[int]:
    """In how many passes texts of these lengths after one turn 1 are read, by their number of rows."""
    rows = [Trial((9, 9, *range(100, 100 + length)[::-1]), (0, 2)) for length in lengths]
    (batch,) = plan_after_turn_1(rows, range(len(rows)), BLOCKS, 10**9)
    return [len(each.rows) for each in batch.passes[1:]]


def test_texts_that_differ_by_more_than_a_quarter_are_read_apart() -> None:
    # less the two tokens of turn 1 that the cache holds, which count as the text's own
    assert lengths_of_passes(6, 8) == [2]  # 8 and 10 tokens: just a quarter
    assert lengths_of_passes(6, 9) == [1, 1]
    assert lengths_of_passes(6, 8, 9) == [2, 1]


def test_the_work_on_a_row_alone() -> None:
    n = 5
    row = Trial((1,) * n)
    assert count_work([row], BLOCKS, 10**9) == Work(1, BLOCKS, BLOCKS * n, BLOCKS * n * (n + 1) // 2, n)
    assert block_evaluations([row] * 4, BLOCKS, 10**9) == BLOCKS


def test_the_work_after_a_shared_turn_1() -> None:
    """Of turn 1 there is a slot, of each of two questions another; each of their tokens attends to turn 1 and back."""
    p, a = 4, 3
    rows = [Trial((7,) * p + (token,) * a, (0, p)) for token in (1, 2)]
    (found,) = work_of_batches(rows, BLOCKS, 10**9)
    before, after = p * (p + 1) // 2, 2 * (a * p + a * (a + 1) // 2)
    assert found == Work(2, 3 * BLOCKS, BLOCKS * (p + 2 * a), BLOCKS * (before + after), p + 2 * a)


def test_the_work_where_slots_split() -> None:
    """Of three blocks the last alone is computed for two slots, since what is injected stands after the one before."""
    n = 4
    rows = [Trial((7,) * n, (0, n)), Trial((7,) * n, (0, n), (Injection("v", 1.0, 1, 1),))]
    assert count_work(rows, BLOCKS, 10**9) == Work(1, 4, 4 * n, 4 * n * (n + 1) // 2, 2 * n)


def test_what_follows_the_last_block_splits_a_slot_where_it_is_read_alone() -> None:
    """After the last block an injection is seen only at the token that is read, which in turn 1 it may be."""
    for end, turn_1, slots in ((4, (0, 4), 2), (4, (0, 3), 1), (4, (1, 4), 2), (4, (3, 4), 2), (4, (2, 3), 1)):
        rows = [Trial((7,) * end, turn_1), Trial((7,) * end, turn_1, (Injection("v", 1.0, 2, 2),))]
        tree = plan_batches(rows, BLOCKS, 10**9)[0].passes[-1].tree
        assert max(tree.slots[-1]) + 1 == slots, (end, turn_1)
        assert tree.widths == [1, 1, 1]


@given(st.lists(st.integers(0, 12)))
def test_spans_are_the_runs_of_a_set(positions: list[int]) -> None:
    spans = spans_of(positions)
    assert [place for start, stop in spans for place in range(start, stop)] == sorted(set(positions))
    assert all(stop < start for (_, stop), (start, _) in pairwise(spans))


def test_an_injection_is_at_its_blocks_whatever_its_strength_but_nothing() -> None:
    for strength in (1.0, -2.0, 1e-9):
        assert [Injection("v", strength, 1, 2).at(block) for block in range(4)] == [False, True, True, False]
    assert not any(Injection("v", 0.0, 1, 2).at(block) for block in range(4))


def test_an_injection_outside_turn_1_is_refused() -> None:
    Trial((1, 2, 3, 4), (1, 3), (Injection("v", 1.0, 1, 1, (1, 2)), Injection("w", 1.0, 1, 1)))
    for positions, first in (((0, 1), 0), ((3,), 3), ((2, 3), 3)):
        with pytest.raises(ValueError, match=rf"^v is injected at {first}, outside turn 1, \[1, 3\)$"):
            Trial((1, 2, 3, 4), (1, 3), (Injection("v", 1.0, 1, 1, positions),))
