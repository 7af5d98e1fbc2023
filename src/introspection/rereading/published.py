"""The post's own figures, as printed, to stand beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from introspection.paper.results import Results
from introspection.rereading.tables import POST_DETECTION, POST_STATEMENTS, SHIFTS

POST = "Qwen2.5-Coder-32B (the post)"
FOLDER = "data/published"
DETECTION_PATH, STATEMENTS_PATH = (f"{FOLDER}/{table.name}" for table in (POST_DETECTION, POST_STATEMENTS))
FILLER = "lorem_ipsum"  # the post's prompt of filler, which is as long as its info prompt
REREAD = "published"  # the folder of `results` that has them read again
SHIFTS_PATH = f"results/{REREAD}/{SHIFTS.name}"
ARMS = ("base", "injected")


def post_detection(results: Results) -> pd.DataFrame:
    """The post's detection tables as printed, and whether each row is of its `swept` layers."""
    table = results.table(POST_DETECTION, DETECTION_PATH)
    return table.assign(swept=_swept(table, results))


def swept_layers(results: Results) -> tuple[str, str]:
    """The layer range that the post chose by its sweep, as printed."""
    statements = results.table(POST_STATEMENTS, STATEMENTS_PATH)
    first, last = statements.loc[statements["quantity"] == "chosen_range", "value"].iloc[0].split("-")
    return first, last


def as_measured(results: Results) -> tuple[pd.DataFrame, list[str]]:
    """The post's figures in the columns of our tables, and the files they are read from.

    Without its swept layers: vector, prompt, log_odds_yes_base and log_odds_yes_injected in nats, and the ends
    injected_low and injected_high of the latter that leave room for all its roundings, where they were computed.
    """
    post = post_detection(results)
    post = post[~post["swept"]]
    base, injected = (np.log(p / (1 - p)) for p in (post[f"p_yes_{arm}_bf16"].astype(float) for arm in ARMS))
    post = post.assign(log_odds_yes_base=base, log_odds_yes_injected=injected)
    if not results.expects(SHIFTS_PATH):
        return post, [DETECTION_PATH]
    ends = {f"log_odds_injected_{end}": f"injected_{end}" for end in ("low", "high")}
    keys = ["vector", "prompt", "first_layer"]
    shifts = results.read(SHIFTS, REREAD).rename(columns=ends)[[*keys, *ends.values()]]
    return post.merge(shifts, on=keys, how="left", validate="1:1"), [DETECTION_PATH, SHIFTS_PATH]


def as_percent(printed: str) -> str:
    """A fraction as printed, in percent with the digits that it has: 0.00150 is 0.150%, 1.00 is 100%."""
    digits = len(printed.partition(".")[2])
    return f"{100 * float(printed):.{max(0, digits - 2)}f}%"


def layers(row: Mapping[str, Any]) -> str:
    """The layers of a row as printed; a dash where nothing was injected."""
    return f"[{row['first_layer']}, {row['last_layer']}]" if row["first_layer"] else "–"


def _swept(table: pd.DataFrame, results: Results) -> pd.Series[bool]:
    first, last = swept_layers(results)
    return (table["first_layer"] == first) & (table["last_layer"] == last)
