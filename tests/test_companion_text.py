"""The companion's pages show whatever text there is as text, cells as they are, and tokens in their order."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pandas as pd
from hypothesis import example, given
from hypothesis import strategies as st

from introspection.companion import pages, site
from introspection.companion.files import Place, ResultFile
from introspection.companion.passages import passages
from introspection.companion.rows import LETTERS, cell, embedded, packed
from introspection.tables import Column, Table, nats
from tests.parsed_html import BREAKING, parsed, unpacked

NAMED = Table(
    "named.csv",
    "Names.",
    ("name",),
    (Column("name", "text", "what it is called"), nats("shift", "how far"), Column("reply", "text", "what it says")),
)


def page_of(names: list[str], text: str) -> pages.Page:
    """A page with these names wherever a page has names, and this text wherever it has text."""
    rows = pd.DataFrame({"name": names, "shift": [0.5] * len(names), "reply": [text] * len(names)})
    place = Place("model", "page")
    file = ResultFile(text, place, NAMED, text, "0" * 64, 1)
    page = pages.Page(place)
    page.tables = [pages.ShownTable(file, NAMED, embedded(NAMED, rows), {"names": names}, "reply")]
    page.values = [pages.ShownValues(file, [(text, text)])]
    page.passages = passages(
        pd.DataFrame({"prompt": names, "steered": [True] * len(names), "token": [text] * len(names)})
    )
    return page


@given(st.lists(st.text(), min_size=2, max_size=4, unique=True), st.text(min_size=1))
@example(["<b>", "</td>"], BREAKING)
def test_whatever_text_there_is_stays_text(names: list[str], text: str) -> None:
    page, plain = page_of(names, text), page_of([f"n{place}" for place in range(len(names))], "text")
    specs = site.Specs()
    jinja = site.environment(specs)
    found = parsed(site.render_page(jinja, page, [page]))
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in parsed(site.render_page(jinja, plain, [plain])).tags]
    embeds = [json.loads(script) for script in found.scripts if script.strip()]
    assert json.dumps({"names": names}, separators=(",", ":")) in specs.script()
    assert names in [column.get("cells") for embed in embeds if isinstance(embed, list) for column in embed]
    assert site.visible(text) in found.text and text in found.text


@given(st.lists(st.one_of(st.none(), st.text(), st.floats(allow_nan=False, allow_infinity=False), st.integers())))
def test_packing_keeps_every_cell(cells: list[Any]) -> None:
    assert unpacked(packed(cells)) == cells


@given(st.lists(st.sampled_from("abc"), max_size=60), st.booleans())
def test_packing_is_never_longer_than_the_cells(cells: list[str], sort: bool) -> None:
    cells = sorted(cells) if sort else cells
    assert len(json.dumps(packed(cells))) <= len(json.dumps({"cells": cells}))


def test_a_column_is_embedded_with_its_kind_and_whether_it_tells_rows_apart() -> None:
    rows = pd.DataFrame({"name": ["a", "b", "c"], "shift": [0.5, float("nan"), 0.5], "reply": [None, "x", "y"]})
    assert embedded(NAMED, rows) == [
        {"name": "name", "kind": "text", "key": True, "cells": ["a", "b", "c"]},
        {"name": "shift", "kind": "number", "key": False, "cells": [0.5, None, 0.5]},
        {"name": "reply", "kind": "text", "key": False, "cells": [None, "x", "y"]},
    ]
    assert type(cell(pd.Series([1.5])[0])) is float and type(cell(pd.array([3], dtype="Int64")[0])) is int


def test_the_shortest_of_all_forms_is_taken() -> None:
    assert packed(["word"]) == {"cells": ["word"]}
    assert packed(["ab", "cd"] * 20) == {"levels": ["ab", "cd"], "letters": "01" * 20}
    assert packed(["ab"] * 40 + ["cd"] * 40) == {"levels": ["ab", "cd"], "runs": [0, 40, 1, 40]}
    many = [f"a level of its own, {number}" for number in range(63)]  # more than there are letters
    assert packed(many * 3) == {"levels": many, "codes": [*range(63)] * 3}
    assert packed(many[:62] * 3) == {"levels": many[:62], "letters": LETTERS * 3}


@given(st.lists(st.tuples(st.sampled_from(["info", "no_info", ""]), st.booleans(), st.text()), max_size=30))
def test_a_passage_has_the_tokens_of_its_prompt_in_order_and_changes_where_steering_does(
    rows: list[tuple[str, bool, str]],
) -> None:
    found = passages(pd.DataFrame(rows, columns=["prompt", "steered", "token"]))
    assert [each.prompt for each in found] == list(dict.fromkeys(prompt for prompt, _, _ in rows))
    for each in found:
        own = [(steered, token) for prompt, steered, token in rows if prompt == each.prompt]
        assert [(s.steered, token) for s in each.stretches for token in s.tokens] == own
        assert all(one.steered != next_.steered for one, next_ in pairwise(each.stretches))
        assert (each.tokens, each.steered) == (len(own), sum(steered for steered, _ in own))
