"""What words do and what an injection does, each against a turn 1 with neither."""

from __future__ import annotations

import pandas as pd

from introspection import names

ARMS = ("text", "state", "both", "random")
"""A concept written, injected, written and injected; and written with a random direction injected."""


def effects(written: pd.DataFrame) -> pd.DataFrame:
    """Each concept's arms for every prompt and sentence, beside the same sentence about nothing, with nothing injected.

    Columns: prompt, sentence, concept, arm; p_yes_neither and p_yes, probabilities; shift, of logit(yes) - logit(no) in
    nats.
    """
    keys = ["prompt", "sentence"]
    of_concept = written["vector"].map(names.kind_of) == "concept"
    about_nothing = written["written"] == names.NOTHING
    nothing, named = written[about_nothing], written[~about_nothing]
    neither = nothing.drop_duplicates(keys).set_index(keys)[["p_yes_base", "logit_difference_base"]]
    first = named.drop_duplicates([*keys, "written"])
    parts = [
        _arm(first, "text", "written", "base"),
        _arm(written[about_nothing & of_concept], "state", "vector", "injected"),
        _arm(written[~about_nothing & of_concept], "both", "written", "injected"),
        _arm(written[~about_nothing & ~of_concept], "random", "written", "injected"),
    ]
    found = pd.concat(parts, ignore_index=True).join(neither, on=keys)
    found["shift"] = found.pop("logit_difference") - found.pop("logit_difference_base")
    return found.rename(columns={"p_yes_base": "p_yes_neither"})


def _arm(rows: pd.DataFrame, arm: str, concept: str, readout: str) -> pd.DataFrame:
    """The rows of one arm; `concept`: the column that names the concept."""
    found = rows[["prompt", "sentence", concept, f"p_yes_{readout}", f"logit_difference_{readout}"]]
    found = found.set_axis(["prompt", "sentence", "concept", "p_yes", "logit_difference"], axis=1)
    return found.assign(arm=arm)
