"""What the quicker DVC writes is what DVC writes, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest
from dvc.utils.serialize import dumps_yaml
from hypothesis import given
from hypothesis import strategies as st

from scripts.quicker_dvc import parsed_once, with_entries
from tests.conftest import ROOT

KEYS = st.from_regex("[a-z_.]+", fullmatch=True)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]), max_size=120)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


@pytest.mark.parametrize("stage", ["train-base", "examine@notices-1", "companion"])
def test_an_entry_of_this_repository_is_written_as_dvc_writes_it(stage: str) -> None:
    text = (ROOT / "dvc.lock").read_text(encoding="utf-8")
    entry = parsed_once(text, "dvc.lock")["stages"][stage]
    assert with_entries(text, {stage: {**entry, "cmd": "another"}}) != text
    assert with_entries(with_entries(text, {stage: {**entry, "cmd": "another"}}), {stage: entry}) == text


@given(st.dictionaries(st.sampled_from(["a", "b@1", "c-d"]), VALUES, min_size=1), st.data())
def test_whatever_a_parameter_holds_is_written_as_dvc_writes_it(params: dict[str, Any], data: st.DataObject) -> None:
    def lock(stages: dict[str, Any]) -> dict[str, Any]:
        return {"schema": "2.0", "stages": stages}

    stages = {name: {"cmd": "true", "params": {"params.yaml": {"key": value}}} for name, value in params.items()}
    changed = data.draw(st.sampled_from([*stages, "new@stage"]))
    entry = {"cmd": "false"}
    assert with_entries(dumps_yaml(lock(stages)), {changed: entry}) == dumps_yaml(lock({**stages, changed: entry}))
