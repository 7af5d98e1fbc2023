"""The engine against the study's two-phase procedure, one pass per cell, with repeng's own steering."""

from __future__ import annotations

import math
from contextlib import ExitStack
from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from repeng import ControlVector
from tokenizers import Tokenizer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from introspection.engine.batches import plan_batches
from introspection.engine.cache import SharedLayer
from introspection.engine.run import prefill, run_prefilled, run_trials
from introspection.engine.tree import plan_tree
from introspection.engine.trial import Injection, Trial
from introspection.engine.work import block_evaluations, count_work
from introspection.experiments.lens.measure import Weak, lens_cells
from introspection.injection.cells import Cell, cell_trials, cells_of, encode_all
from introspection.injection.vectors import random_vectors
from introspection.model.language_model import LanguageModel
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Conversation, Stimuli
from tests.reference import piecewise_logits, two_phase_logits
from tests.small_models import load, save_model

PROMPTS = ("no_info", "info", "inaccurate_location", "lorem_ipsum")


def vectors_of(model: LanguageModel, count: int = 2) -> dict[str, ControlVector]:
    return dict(random_vectors(model, count, seed=3))


def directions(vectors: dict[str, ControlVector]) -> dict[str, dict[int, np.ndarray]]:
    return {name: vector.directions for name, vector in vectors.items()}


def trial(model: LanguageModel, conversation: Conversation, injection: Injection | None) -> Trial:
    encoded = encode(model.tokenizer, conversation)
    return Trial(encoded.token_ids, encoded.steered, (injection,) if injection else ())


def final_logits(
    model: LanguageModel, rows: list[Trial], vectors: dict[str, ControlVector], **options: int
) -> torch.Tensor:
    states = run_trials(model, rows, directions(vectors), layers=[len(model.blocks)], **options)
    return model.logits(states[:, 0])


def test_every_cell_equals_the_two_phase_procedure(any_model: LanguageModel, stimuli: Stimuli) -> None:
    vectors = vectors_of(any_model)
    cells: list[tuple[Conversation, Injection | None]] = [(stimuli.detection[prompt], None) for prompt in PROMPTS]
    for prompt, (first, last), strength in product(PROMPTS, [(1, 4), (2, 3), (4, 4)], [0.5, 4.0]):
        cells.append((stimuli.detection[prompt], Injection("random_1", strength, first, last)))
    cells.append((stimuli.detection["info"], Injection("random_2", 4.0, 1, 2)))
    cells.append((stimuli.content["info"], Injection("random_2", 4.0, 1, 2)))  # shares its turn 1 with the one above
    cells.append((stimuli.control_conversation(stimuli.controls[0]), Injection("random_2", 4.0, 1, 2)))
    rows = [trial(any_model, conversation, injection) for conversation, injection in cells]
    together = final_logits(any_model, rows, vectors)
    alone = torch.cat([final_logits(any_model, [row], vectors) for row in rows])
    for row, (conversation, injection) in enumerate(cells):
        vector = vectors[injection.vector] if injection else None
        strength, layers = (
            (injection.strength, (injection.first_layer, injection.last_layer)) if injection else (0.0, (1, 1))
        )
        expected = two_phase_logits(any_model, conversation, vector, strength, layers)
        torch.testing.assert_close(together[row], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone[row], expected, atol=1e-5, rtol=1e-5)
        if injection and injection.first_layer < 4:  # what follows the last block leaves no key or value
            assert (expected - together[PROMPTS.index("info")]).abs().max() > 1e-3


def test_a_turn_prefilled_by_another_model_equals_both_models_loaded(
    qwen2: LanguageModel, stimuli: Stimuli, tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer
) -> None:
    other = load(save_model(tmp_path_factory.mktemp("other"), "qwen2", tokenizer, seed=9))
    for conversation in (stimuli.detection["info"], stimuli.content["no_info"]):
        encoded = encode(qwen2.tokenizer, conversation)
        system = prefill(qwen2, encoded.token_ids[: encoded.steered[0]])
        turn_1 = prefill(other, encoded.token_ids[: encoded.steered[1]], system)
        states = run_prefilled(qwen2, [turn_1], [encoded.token_ids[encoded.steered[1] :]], layers=[len(qwen2.blocks)])
        expected = two_phase_logits(qwen2, conversation, None, other=other)
        torch.testing.assert_close(qwen2.logits(states[:, 0])[0], expected, atol=1e-5, rtol=1e-5)


def test_states_of_every_layer_equal_those_that_the_model_reports(any_model: LanguageModel, stimuli: Stimuli) -> None:
    row = trial(any_model, stimuli.detection["no_info"], None)
    states = run_trials(any_model, [row], {})[0]
    with torch.inference_mode():
        expected = any_model.model(torch.tensor([row.token_ids]), output_hidden_states=True).hidden_states
    for layer in range(len(any_model.blocks)):  # the last entry of the model's own is normed already
        torch.testing.assert_close(states[layer], expected[layer][0, -1], atol=1e-5, rtol=1e-5)


def test_logits_equal_the_models_own(any_model: LanguageModel, stimuli: Stimuli) -> None:
    row = trial(any_model, stimuli.detection["info"], None)
    with torch.inference_mode():
        expected = any_model.model(torch.tensor([row.token_ids])).logits[0, -1]
    torch.testing.assert_close(final_logits(any_model, [row], {})[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens_per_batch", [1, 700, 3000])
def test_results_do_not_depend_on_the_batch_size(qwen2: LanguageModel, stimuli: Stimuli, tokens_per_batch: int) -> None:
    vectors = vectors_of(qwen2)
    rows = [
        trial(qwen2, stimuli.control_conversation(question), injection)
        for question in stimuli.controls[:4]
        for injection in (None, Injection("random_1", 3.0, 1, 3), Injection("random_2", 3.0, 2, 2))
    ]
    small = final_logits(qwen2, rows, vectors, tokens_per_batch=tokens_per_batch)
    torch.testing.assert_close(small, final_logits(qwen2, rows, vectors), atol=1e-5, rtol=1e-5)


def test_the_sweep_of_all_ranges_needs_the_counted_block_evaluations() -> None:
    """Before block k the rows differ by their range within blocks 1..k-1: k(k-1)/2 of them, and one that is unsteered.

    Over n blocks that sums to n + n(n-1)(n-2)/6, against n for each range and arm of a pass per cell.
    """
    for blocks in (4, 8, 16):
        ranges = [(i, j) for i in range(1, blocks) for j in range(i, blocks)]
        rows = [Trial((5, 6), (0, 1))] + [Trial((5, 6), (0, 1), (Injection("v", 1.0, i, j),)) for i, j in ranges]
        counted = block_evaluations(rows, blocks, tokens_per_batch=10**9)
        assert counted == blocks + math.comb(blocks, 3)


def test_questions_after_the_same_turn_1_read_it_once(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    injections = [Injection("random_1", 3.0, 1, 3), Injection("random_2", 3.0, 2, 2)]
    rows = [
        trial(qwen2, stimuli.control_conversation(question), injection)
        for question in stimuli.controls[:6]
        for injection in injections
    ]
    # One slot up to and with block 1, then random_1's and the other's, which random_2 joins after block 2.
    turn_1 = 1 + 1 + 2 + 2 + 2
    assert block_evaluations(rows, 5, tokens_per_batch=10**9) == turn_1 + 6 * turn_1


def test_a_turn_1_is_read_once_by_all_batches_that_can_share_it(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    """However small the batches, each injection's questions stay together, so no turn 1 is prefilled twice."""
    injections = [Injection(f"v{number}", 3.0, 1, 4) for number in range(6)]
    rows = [trial(qwen2, stimuli.control_conversation(q), arm) for q in stimuli.controls for arm in injections]
    turn_1 = rows[0].turn_1[1]
    longest = max(len(row.token_ids) for row in rows) - turn_1
    counts = []
    for injections_per_batch in (1, 2, 3):
        tokens = injections_per_batch * (8 * turn_1 + len(stimuli.controls) * longest)  # caches weigh eight times
        batches = plan_batches(rows, 5, tokens)
        by_batch = [{rows[row].injections for row in batch.rows} for batch in batches]
        assert sum(map(len, by_batch)) == len(injections)
        counts.append(len(batches))
    assert counts == [6, 3, 2]


def test_a_turn_1_is_read_once_though_what_follows_has_many_lengths(qwen2: LanguageModel) -> None:
    """Little padding in each pass, and the states of each row alone."""
    arms = [(Injection("random_1", 3.0, 1, 3),), ()]
    lengths = [7, 31, 1, 8, 30, 2, 31]
    rows = [
        Trial(tuple(range(5, 17)) + (20 + place,) * length, (2, 12), arm)
        for arm in arms
        for place, length in enumerate(lengths)
    ]
    (batch,) = plan_batches(rows, 5, 10**9)
    assert [(each.cached, each.length) for each in batch.passes] == [(0, 12), (12, 2), (12, 8), (12, 31)]
    assert sorted(row for each in batch.passes[1:] for row in each.rows) == list(range(len(rows)))
    given = directions(vectors_of(qwen2))
    together = run_trials(qwen2, rows, given)
    for row, states in zip(rows, together, strict=True):
        torch.testing.assert_close(states, run_trials(qwen2, [row], given)[0], atol=1e-5, rtol=1e-5)


def test_a_text_that_begins_another_is_read_from_its_pass(any_model: LanguageModel, stimuli: Stimuli) -> None:
    whole = trial(any_model, stimuli.detection["no_info"], Injection("random_1", 3.0, 1, 3))
    start = whole.turn_1[1]
    lengths = [len(whole.token_ids), start + 1, start + 7, start + 7, start]
    rows = [Trial(whole.token_ids[:length], whole.turn_1, whole.injections) for length in lengths]
    rows += [Trial(row.token_ids[:9]) for row in rows]  # nothing injected, and no more than the shared beginning
    assert block_evaluations(rows, 5, tokens_per_batch=10**9) == 5 + 5
    given = {name: vector.directions for name, vector in vectors_of(any_model).items()}
    together = run_trials(any_model, rows, given)
    for row, states in zip(rows, together, strict=True):
        torch.testing.assert_close(states, run_trials(any_model, [row], given)[0], atol=1e-5, rtol=1e-5)


def test_a_text_that_ends_with_a_shared_turn_1_is_read_at_its_end(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    arm = Injection("random_1", 3.0, 1, 3)
    rows = [trial(qwen2, stimuli.control_conversation(question), arm) for question in stimuli.controls[:3]]
    rows += [Trial(rows[0].token_ids[: rows[0].turn_1[1] - less], rows[0].turn_1, (arm,)) for less in (0, 2)]
    given = directions(vectors_of(qwen2))
    assert {batch.prefix for batch in plan_batches(rows, 5, 10**9)} == {0, rows[0].turn_1[1]}
    for row, states in zip(rows, run_trials(qwen2, rows, given), strict=True):
        torch.testing.assert_close(states, run_trials(qwen2, [row], given)[0], atol=1e-5, rtol=1e-5)


def test_turn_1_is_attended_to_where_it_lies(
    any_model: LanguageModel, stimuli: Stimuli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where the library does not let the attention be replaced, or it sees less than all, there are copies."""
    encoded = [encode(any_model.tokenizer, stimuli.control_conversation(question)) for question in stimuli.controls[:4]]
    injections = [Injection("random_1", strength, 1, 3) for strength in (0.5, 1.0)]
    rows = [Trial(text.token_ids, text.steered, (each,)) for text in encoded for each in injections]
    vectors, copied = vectors_of(any_model), []
    followed_by = SharedLayer.followed_by

    def counted(self: SharedLayer, *new: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        copied.append(len(new[0]))
        return followed_by(self, *new)

    monkeypatch.setattr(SharedLayer, "followed_by", counted)
    found = final_logits(any_model, rows, vectors)
    replaceable = any_model.text_config._attn_implementation == "sdpa" and not any_model.text_config.to_dict().get(
        "sliding_window"
    )
    assert bool(copied) != replaceable
    monkeypatch.setattr(type(any_model.model), "_supports_attention_backend", False)
    copies = final_logits(any_model, rows, vectors)
    assert copied
    torch.testing.assert_close(found, copies, atol=1e-5, rtol=1e-5)
    assert "sdpa" not in ALL_ATTENTION_FUNCTIONS._local_mapping, "the library is as it was"


def test_the_last_perceptron_sees_only_what_is_read(any_model: LanguageModel, stimuli: Stimuli) -> None:
    prompts = [trial(any_model, stimuli.detection[prompt], None) for prompt in PROMPTS]
    shapes = []
    with any_model.blocks[-1].mlp.register_forward_hook(lambda _m, inputs, _o: shapes.append(inputs[0].shape)):
        run_trials(any_model, prompts, {})
    assert sum(shape[0] * shape[1] for shape in shapes) == len(prompts)


def test_counted_work_is_what_the_model_computes(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    rows = [trial(qwen2, stimuli.detection[prompt], None) for prompt in PROMPTS]
    rows += [trial(qwen2, stimuli.detection["info"], Injection("random_1", s, 1, 3)) for s in (1.0, 2.0, 3.0)]
    rows += [trial(qwen2, stimuli.control_conversation(q), Injection("random_2", 1.0, 2, 3)) for q in stimuli.controls]
    seen: list[list[tuple[int, int]]] = [[] for _ in qwen2.blocks]
    hooks = [
        block.register_forward_pre_hook(lambda _m, inputs, seen=seen[k]: seen.append(tuple(inputs[0].shape[:2])))
        for k, block in enumerate(qwen2.blocks)
    ]
    run_trials(qwen2, rows, directions(vectors_of(qwen2)), tokens_per_batch=4000)
    for hook in hooks:
        hook.remove()
    work = count_work(rows, 5, 4000)
    assert [work.passes] * 5 == [len(shapes) for shapes in seen]
    assert work.block_evaluations == sum(slots for shapes in seen for slots, _ in shapes)
    assert work.block_tokens == sum(slots * length for shapes in seen for slots, length in shapes)
    assert work.last_block_tokens == sum(slots * length for slots, length in seen[-1])


def test_the_experiments_need_the_counted_block_evaluations(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    """Up to and with the block after which a range begins all rows of a text share a slot; above it each has its own.

    Detection and the lens do that for every prompt, the unsteered row among them; the questions for turn 1 once, and
    then for every question after it.
    """
    blocks, (first, last), vectors = 12, (4, 8), 5
    injections = [Injection(f"v{number}", 2.0, first, last) for number in range(vectors)]

    def evaluations(conversations: dict[str, Conversation], cells: list[Cell]) -> int:
        return block_evaluations(cell_trials(encode_all(qwen2.tokenizer, conversations), cells), blocks, 10**9)

    def of_a_text(arms: int) -> int:
        return (first + 1) + (blocks - first - 1) * (arms + 1)

    detection = evaluations(stimuli.detection, cells_of(list(stimuli.detection), injections))
    assert detection == 4 * of_a_text(vectors)

    controls = {question.question: stimuli.control_conversation(question) for question in stimuli.controls}
    asked = evaluations(controls, cells_of(list(controls), injections))
    assert asked == (1 + len(controls)) * of_a_text(vectors)

    scenarios = [cell for _, cell in lens_cells(stimuli.detection, injections, Weak("info", 0.25))]
    lens = evaluations(stimuli.detection, scenarios)
    assert lens == 3 * of_a_text(vectors) + of_a_text(2 * vectors)  # two strengths under info, one unsteered row


Additions = st.lists(st.tuples(st.sampled_from("ab"), st.just(1.0), st.just(((0, 1),))), max_size=2).map(tuple)


@given(st.lists(st.tuples(st.integers(0, 2), st.lists(Additions, min_size=4, max_size=4)), min_size=1, max_size=12))
def test_a_tree_computes_for_each_row_what_the_row_alone_would(rows: list) -> None:
    """Follow each slot's parents and additions back: they must spell out the row's own beginning and additions."""
    tree = plan_tree([root for root, _ in rows], [steps for _, steps in rows], 4)
    histories = {slot: (root,) for slot, (root, _) in zip(tree.slots[0], rows, strict=True)}
    for block in range(4):
        histories = {
            slot: (*histories[parent], added)
            for slot, (parent, added) in enumerate(zip(tree.parents[block], tree.additions[block], strict=True))
        }
        assert len(set(histories.values())) == len(histories), "two slots compute the same thing"
        for (root, steps), slot in zip(rows, tree.slots[block + 1], strict=True):
            assert histories[slot] == (root, *steps[: block + 1])


def test_any_positions_and_several_vectors_equal_the_two_phase_procedure(any_model: LanguageModel) -> None:
    """Scattered tokens, two vectors at different places, two at the same place, and turn 1 as a whole beside a part."""
    vectors, ids = vectors_of(any_model), tuple(range(40, 70))
    one, other = (Injection("random_1", 4.0, 1, 3, (6, 7, 8, 12)), Injection("random_2", -3.0, 2, 4, (9, 15)))
    everywhere = Injection("random_2", 2.0, 1, 2)
    arms = [(one,), (other,), (one, other), (other, one), (one, everywhere), (everywhere,), ()]
    rows = [Trial((*ids, *rest), (5, 20), arm) for arm in arms for rest in ((), (7, 8), (9,))]
    together = final_logits(any_model, rows, vectors)
    for row, found in zip(rows, together, strict=True):
        torch.testing.assert_close(found, piecewise_logits(any_model, row, vectors), atol=1e-5, rtol=1e-5)
    unlike = [together[3 * arms.index(arm)] for arm in ((one,), (other,), (one, other), (one, everywhere), ())]
    assert min(float((a - b).abs().max()) for a, b in combinations(unlike, 2)) > 1e-3
    assert len(set(plan_slots(rows))) == len(plan_slots(rows)) - 3  # the order of a row's injections is no difference


def plan_slots(rows: list[Trial]) -> list[object]:
    """What each row is read from, in the plan of one batch of everything."""
    return [
        (slot, row.token_ids)
        for batch in plan_batches(rows, 5, 10**9)
        for row, slot in zip(batch.trials, batch.slots, strict=True)
    ]


@st.composite
def plans(draw: st.DrawFn) -> list[Trial]:
    """Rows over a few texts that begin alike, cut anywhere, with up to three injections at any tokens of turn 1."""
    rows = []
    for _ in range(draw(st.integers(1, 7))):
        start, stop = draw(st.sampled_from([(0, 5), (2, 8)]))
        text = (*range(40, 48), *draw(st.sampled_from([(50, 51), (60, 61, 62)])))
        positions = st.none() | st.sets(st.integers(start, stop - 1)).map(lambda places: tuple(sorted(places)))
        first, last = sorted((draw(st.integers(1, 4)), draw(st.integers(1, 4))))
        injection = st.builds(
            Injection,
            st.sampled_from(("random_1", "random_2")),
            st.sampled_from((-2.0, 0.0, 3.0)),
            st.just(first),
            st.just(last),
            positions,
        )
        arms = draw(st.lists(injection, max_size=3))
        rows.append(Trial(text[: draw(st.integers(1, len(text)))], (start, stop), tuple(arms)))
    return rows


@given(plans(), st.sampled_from((1, 20, 60, 10**6)))
@settings(max_examples=60)
def test_any_plan_equals_its_rows_one_at_a_time(qwen2: LanguageModel, rows: list[Trial], tokens_per_batch: int) -> None:
    given = directions(vectors_of(qwen2))
    slots: list[int] = []
    with ExitStack() as stack:
        for block in qwen2.blocks:
            stack.enter_context(block.register_forward_pre_hook(lambda _m, inputs: slots.append(len(inputs[0]))))
        together = run_trials(qwen2, rows, given, tokens_per_batch=tokens_per_batch)
    for row, states in zip(rows, together, strict=True):
        torch.testing.assert_close(states, run_trials(qwen2, [row], given)[0], atol=1e-5, rtol=1e-5)
    assert sum(slots) == block_evaluations(rows, 5, tokens_per_batch)


def test_nothing_is_injected_outside_turn_1() -> None:
    with pytest.raises(ValueError, match=r"random_1 is injected at 5, outside turn 1, \[2, 5\)"):
        Trial((1, 2, 3, 4, 5, 6, 7), (2, 5), (Injection("random_1", 1.0, 1, 2, (3, 5)),))


def test_blocks_compute_in_slices_that_change_nothing(
    any_model: LanguageModel, stimuli: Stimuli, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = [None, Injection("random_1", 3.0, 1, 4), Injection("random_2", 2.0, 2, 3), Injection("random_2", 2.0, 2, 2)]
    rows = [trial(any_model, stimuli.detection[prompt], arm) for prompt in PROMPTS for arm in arms]
    rows += [trial(any_model, stimuli.control_conversation(q), arm) for q in stimuli.controls[:3] for arm in arms]
    rows += [Trial(rows[1].token_ids[:30], rows[1].turn_1, rows[1].injections)]  # read where it is steered
    given = {name: vector.directions for name, vector in vectors_of(any_model).items()}
    expected = torch.cat([run_trials(any_model, [row], given) for row in rows])
    norm = next(child for child in any_model.blocks[1].children() if "norm" in type(child).__name__.lower())
    for tokens in (1, 900, 10**9):
        seen: list[int] = []

        def watch(_module: object, inputs: tuple[torch.Tensor, ...], seen: list[int] = seen) -> None:
            seen.append(len(inputs[0]))

        monkeypatch.setattr("introspection.engine.memory.SLICE", tokens)
        with norm.register_forward_pre_hook(watch):
            states = run_trials(any_model, rows, given)
        torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)
        assert (max(seen) == 1) == (tokens == 1) and (tokens < 10**9 or max(seen) > 3)
    assert all("forward" not in vars(block) for block in any_model.blocks)
