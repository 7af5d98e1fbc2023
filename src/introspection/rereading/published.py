"""The post's own figures, as printed, to stand beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from introspection.paper.results import Results
from introspection.rereading.tables import POST_CONTROLS, POST_DETECTION, POST_SAMPLES, POST_STATEMENTS, SHIFTS

POST = "Qwen2.5-Coder-32B (the post)"
FOLDER = "data/published"
DETECTION_PATH, CONTROLS_PATH, SAMPLES_PATH, STATEMENTS_PATH = (
    f"{FOLDER}/{table.name}" for table in (POST_DETECTION, POST_CONTROLS, POST_SAMPLES, POST_STATEMENTS)
)
REREAD = "published"  # the folder of `results` that has them read again
SHIFTS_PATH = f"results/{REREAD}/{SHIFTS.name}"


def post_detection(results: Results) -> pd.DataFrame:
    """The post's detection tables as printed, and whether each row is of its `swept` layers."""
    table = results.table(POST_DETECTION, DETECTION_PATH)
    return table.assign(swept=_swept(table, results))


def post_controls(results: Results) -> pd.DataFrame:
    """The post's means over control questions as printed."""
    return results.table(POST_CONTROLS, CONTROLS_PATH)


def post_samples(results: Results) -> pd.DataFrame:
    """The replies to "What are you thinking about?" that the post shows, and whether each is of its `swept` layers."""
    table = results.table(POST_SAMPLES, SAMPLES_PATH)
    table = table.assign(swept=_swept(table, results), strength=pd.to_numeric(table["strength"]))
    return table[table["prompt"] == "top_of_mind"]


def swept_layers(results: Results) -> tuple[str, str]:
    """The layer range that the post chose by its sweep, as printed."""
    statements = results.table(POST_STATEMENTS, STATEMENTS_PATH)
    first, last = statements.loc[statements["quantity"] == "chosen_range", "value"].iloc[0].split("-")
    return first, last


def as_measured(results: Results) -> tuple[pd.DataFrame, list[str]]:
    """The post's figures in the columns of our tables, and the files they are read from.

    Without its swept layers; with shift_low and shift_high, what rounding leaves open, where that was computed.
    """
    post = post_detection(results)
    post = post[~post["swept"]]
    base, injected = (post[f"p_yes_{arm}_bf16"].astype(float) for arm in ("base", "injected"))
    shift = np.log(injected / (1 - injected)) - np.log(base / (1 - base))
    post = post.assign(p_yes_base=base, p_yes_injected=injected, shift=shift)
    if not results.expects(SHIFTS_PATH):
        return post, [DETECTION_PATH]
    ends = {"log_odds_shift_low": "shift_low", "log_odds_shift_high": "shift_high"}
    keys = ["vector", "prompt", "first_layer"]
    shifts = results.read(SHIFTS, REREAD).rename(columns=ends)[[*keys, *ends.values()]]
    return post.merge(shifts, on=keys, how="left", validate="1:1"), [DETECTION_PATH, SHIFTS_PATH]


def as_percent(printed: str) -> str:
    """A fraction as printed, in percent with the digits that it has: 0.00150 is 0.150%, 1.00 is 100%."""
    digits = len(printed.partition(".")[2])
    return f"{100 * float(printed):.{max(0, digits - 2)}f}%"


def cell(rows: pd.DataFrame, column: str) -> str:
    """A printed figure of the one row that a table has for something, in percent; a dash where it has none."""
    return as_percent(rows[column].iloc[0]) if len(rows) else "–"


def layers(row: Mapping[str, Any]) -> str:
    """The layers of a row as printed; a dash where nothing was injected."""
    return f"[{row['first_layer']}, {row['last_layer']}]" if row["first_layer"] else "–"


def _swept(table: pd.DataFrame, results: Results) -> pd.Series[bool]:
    first, last = swept_layers(results)
    return (table["first_layer"] == first) & (table["last_layer"] == last)
