"""How trials are read: in halves where memory is short, with numbers that are finite, and with progress shown."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from introspection.engine import reading as running
from introspection.engine.batches import Pass, plan_batches
from introspection.engine.reading import NotFiniteError
from introspection.engine.run import prefill, run_prefilled, run_trials
from introspection.engine.trial import Injection, Trial
from introspection.model.language_model import LanguageModel
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Stimuli
from tests.test_trials import PROMPTS, directions, final_logits, trial, vectors_of

FULL = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize("full", FULL, ids=[type(each).__name__ for each in FULL])
def test_a_batch_that_does_not_fit_is_halved_and_the_log_says_so(
    full: Exception,
    qwen2: LanguageModel,
    stimuli: Stimuli,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    vectors, ran = vectors_of(qwen2), []
    rows = [trial(qwen2, stimuli.detection["info"], Injection("random_1", s, 1, 3)) for s in (1.0, 2.0, 3.0, 4.0, 5.0)]
    expected = final_logits(qwen2, rows, vectors)
    forward = running.read_pass

    def small_memory(model: LanguageModel, planned: Pass, *args: object) -> torch.Tensor:
        if max(planned.tree.widths) > 2:
            raise full
        ran.append(max(planned.tree.widths))
        return forward(model, planned, *args)

    monkeypatch.setattr(running, "read_pass", small_memory)
    torch.testing.assert_close(final_logits(qwen2, rows, vectors), expected, atol=1e-5, rtol=1e-5)
    assert ran and max(ran) <= 2
    told = capsys.readouterr().err.splitlines()
    assert told == [f"memory does not hold {rows} rows at once: they are read in halves" for rows in (5, 3)]


@pytest.mark.parametrize(
    ("error", "rows"), [(MemoryError(), 1), (RuntimeError("shapes"), 3), (RuntimeError("shapes"), 1)]
)
def test_a_row_that_does_not_fit_alone_and_any_other_error_end_the_run(
    error: Exception, rows: int, qwen2: LanguageModel, stimuli: Stimuli, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def broken(_: LanguageModel, planned: Pass, *args: object) -> torch.Tensor:
        tried.append(len(planned.rows))
        raise error

    monkeypatch.setattr(running, "read_pass", broken)
    several = [trial(qwen2, stimuli.detection["info"], Injection("random_1", 1.0 + row, 1, 3)) for row in range(rows)]
    with pytest.raises(type(error)):
        run_trials(qwen2, several, directions(vectors_of(qwen2)))
    assert tried == [rows]


def test_progress_is_shown_with_a_total_where_it_is_asked_for(
    qwen2: LanguageModel, stimuli: Stimuli, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [trial(qwen2, stimuli.detection["info"], Injection("random_1", s, 1, 3)) for s in (1.0, 2.0, 3.0)]
    given = directions(vectors_of(qwen2))
    run_trials(qwen2, rows, given, tokens_per_batch=1)
    assert capsys.readouterr().err == ""
    run_trials(qwen2, rows, given, tokens_per_batch=1, progress="cats")
    shown = capsys.readouterr().err.split("\r")
    assert [re.search(r"^cats: .* (\d/3) ", each)[1] for each in (shown[1], shown[-1].rstrip())] == ["0/3", "3/3"]
    assert "trial/s" in shown[-1]


def test_nothing_is_kept_where_no_layer_is_asked_for(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    rows = [trial(qwen2, stimuli.detection[prompt], None) for prompt in PROMPTS]
    assert run_trials(qwen2, rows, {}, layers=[]).shape == (len(rows), 0, qwen2.hidden_size)
    (batch,) = plan_batches(rows[:1], len(qwen2.blocks), 10**9)
    assert running.read_pass(qwen2, batch.passes[0], {}, []).shape == (1, 0, qwen2.hidden_size)


def test_a_prefilled_turn_1_is_read_in_halves_where_memory_is_short(
    qwen2: LanguageModel, stimuli: Stimuli, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = [encode(qwen2.tokenizer, stimuli.control_conversation(question)) for question in stimuli.controls[:5]]
    start = encoded[0].steered[1]
    turn_1, rest = prefill(qwen2, encoded[0].token_ids[:start]), [text.token_ids[start:] for text in encoded]
    expected = run_prefilled(qwen2, [turn_1] * 5, rest)
    forward, ran = running.read_pass, []

    def small_memory(model: LanguageModel, planned: Pass, *args: object) -> torch.Tensor:
        if len(planned.texts) > 2:
            raise torch.OutOfMemoryError("out of memory")
        ran.append(len(planned.texts))
        return forward(model, planned, *args)

    monkeypatch.setattr(running, "read_pass", small_memory)
    torch.testing.assert_close(run_prefilled(qwen2, [turn_1] * 5, rest), expected, atol=1e-5, rtol=1e-5)
    assert sum(ran) == 5
    with pytest.raises(ValueError, match=r"^there is nothing to read after a turn 1 that another"):
        run_prefilled(qwen2, [turn_1], [()])


def test_hooks_are_gone_after_an_exception(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    row = trial(qwen2, stimuli.detection["info"], Injection("random_1", 1.0, 1, 3))

    def hooks() -> list[set[int]]:
        return [{*module._forward_hooks, *module._forward_pre_hooks} for module in qwen2.model.modules()]

    before = hooks()  # transformers leaves its own where it was asked for hidden states
    with pytest.raises(KeyError):
        run_trials(qwen2, [row], {})  # no such vector
    assert hooks() == before


def test_numbers_that_are_not_finite_stop_the_run(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    row = trial(qwen2, stimuli.detection["info"], Injection("random_1", 1e38, 1, 3))
    broken = {"random_1": {k: np.full(32, 1e38, np.float32) for k in range(1, 5)}}
    with pytest.raises(NotFiniteError, match=r"layer \d+ .*random_1"):
        run_trials(qwen2, [row], broken)


def test_what_is_not_finite_is_told_by_all_that_is_injected(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    once, twice = (Injection(name, 1e38, 1, 3) for name in ("random_1", "random_2"))
    row = replace(trial(qwen2, stimuli.detection["info"], once), injections=(once, twice))
    broken = {each: {k: np.full(32, 1e38, np.float32) for k in range(1, 5)} for each in ("random_1", "random_2")}
    with pytest.raises(NotFiniteError, match=rf"finite for {re.escape(f'{once} and {twice}')} \(\d+ tokens\)"):
        run_trials(qwen2, [row], broken)
    weight = qwen2.blocks[0].mlp.down_proj.weight
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.fill_(float("nan"))
        with pytest.raises(NotFiniteError, match=r"at layer 1 is not finite for no injection \("):
            run_trials(qwen2, [trial(qwen2, stimuli.detection["info"], None)], {})
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_the_row_and_the_layer_are_named_that_are_not_finite(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    given = directions(vectors_of(qwen2))
    arms = [Injection("random_1", 2.0, 1, 3), Injection("random_2", 1e39, 2, 2), Injection("random_1", 1e39, 1, 1)]
    rows = [trial(qwen2, stimuli.detection["info"], each) for each in (None, *arms)]
    with pytest.raises(NotFiniteError, match=rf"at layer 4 is not finite for {re.escape(str(arms[1]))} \("):
        run_trials(qwen2, rows[:3], given, layers=[0, 2, 4])
    with pytest.raises(NotFiniteError, match=rf"at layer 2 is not finite for {re.escape(str(arms[2]))} \("):
        run_trials(qwen2, [rows[0], rows[3]], given, layers=[0, 2, 4])
    assert run_trials(qwen2, rows, given, layers=[0]).isfinite().all()


def test_the_first_layer_is_the_embedding(qwen2: LanguageModel, stimuli: Stimuli) -> None:
    rows = [trial(qwen2, stimuli.detection[prompt], None) for prompt in PROMPTS]
    embedded = qwen2.model.get_input_embeddings().weight[[row.token_ids[-1] for row in rows]]
    torch.testing.assert_close(run_trials(qwen2, rows, {}, layers=[0])[:, 0], embedded.float())


def test_rows_together_are_as_each_alone_in_every_family(any_model: LanguageModel, stimuli: Stimuli) -> None:
    """Some split after a block after which others are given two vectors, and all have texts of other lengths."""
    one, two = Injection("random_1", 3.0, 1, 3), Injection("random_2", 2.0, 2, 4)
    arms = [(), (one,), (two,), (one, two), (replace(two, strength=1.0), one)]
    encoded = [encode(any_model.tokenizer, stimuli.detection[prompt]) for prompt in PROMPTS[:2]]
    rows = [Trial(text.token_ids, text.steered, arm) for text in encoded for arm in arms]
    given = directions(vectors_of(any_model))
    together = run_trials(any_model, rows, given)
    alone = torch.cat([run_trials(any_model, [row], given) for row in rows])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-5)
    assert len({round(float(states[-1].norm()), 3) for states in together}) == len(rows), "each arm does something"
