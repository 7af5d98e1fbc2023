"""The companion: what its pages say, that all of it is shown as text, and how it behaves in a browser."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from transformers import AutoTokenizer

from introspection.companion import charts, pages, site
from introspection.companion.files import Place, ResultFile
from introspection.companion.passages import passages
from introspection.companion.rows import embedded, packed
from introspection.experiments.battery.tables import FIT
from introspection.experiments.declared import measured
from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.prompt_text.tables import PROMPT_TEXT
from introspection.experiments.prompt_text.tokens import token_rows
from introspection.files import ResultError
from introspection.paper.results import Results
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Turn
from introspection.tables import Column, Table, nats
from tests.synthetic_results import settings, stages_of, write_project

BREAKING = "</script><img src=x onerror=\"document.title='broken'\">\u2028 \n'<!--"
STUDY = settings()
MODELS = STUDY.study.models
LIMIT = 5_000_000  # bytes
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; scripts/install-chromium installs it")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The result files of two models, a reply and a prompt among them that would break a page."""
    root = tmp_path_factory.mktemp("project")
    write_project(root, STUDY)
    samples = root / "results" / MODELS[0] / "samples.csv"
    replies = pd.read_csv(samples, dtype=str, keep_default_na=False)
    replies["text"] = [
        BREAKING,
        *(f"{text} And on it goes, for two lines of a page." * 3 for text in replies["text"][1:]),
    ]
    replies.to_csv(samples, index=False)
    tokens = pd.DataFrame(
        [("info", 0, 0, False, "<|im_start|>"), ("info", 1, 1, True, BREAKING), ("info", 2, 2, False, " is")],
        columns=[column.name for column in PROMPT_TEXT.columns],
    )
    text = f"results/prompt_text/{MODELS[0]}.csv"
    PROMPT_TEXT.write(tokens, root / text)
    return Results(root, stages_of(STUDY) | {text: f"prompt-text@{MODELS[0]}"})


@pytest.fixture(scope="module")
def companion(results: Results) -> Path:
    output = results.root / "companion"
    site.write_companion(results, MODELS, output)
    return output


@dataclass
class Parsed(HTMLParser):
    """What a reader of HTML finds in a page."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        else:
            self.text += data


def parsed(text: str) -> Parsed:
    found = Parsed()
    found.feed(text)
    found.close()
    return found


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


def test_every_table_that_a_stage_writes_stands_on_a_page(results: Results, companion: Path) -> None:
    for path in results.stages:
        if not path.endswith(".csv"):
            continue
        parts = path.split("/")
        name = parts[2] if len(parts) == 4 else measured()[path.rpartition("/")[2]][0] if parts[1] in MODELS else ""
        page = companion / parts[1] / f"{name}.html" if name else companion / MODELS[0] / "prompt_text.html"
        text = html.unescape(page.read_text(encoding="utf-8"))
        assert path in text and f"dvc repro {results.stages[path]}" in text
    for path in (results.root / "results" / "published").iterdir():
        assert path.name in (companion / "published" / "rereading.html").read_text(encoding="utf-8")


def test_rows_are_embedded_as_they_are_in_the_file(results: Results, companion: Path) -> None:
    rows = results.table(DETECTION, f"results/{MODELS[0]}/detection.csv")
    page = parsed((companion / MODELS[0] / "detection.html").read_text(encoding="utf-8"))
    columns = next(json.loads(text) for text in page.scripts if text.startswith("[{"))
    assert [column["name"] for column in columns] == list(rows)
    for column in columns:
        assert unpacked(column) == [None if pd.isna(value) else value for value in rows[column["name"]]]


def test_links_lead_somewhere(companion: Path) -> None:
    count = 0
    for page in companion.rglob("*.html"):
        found = parsed(page.read_text(encoding="utf-8"))
        for tag, attributes in found.tags:
            target = attributes.get("href" if tag in ("a", "link") else "src")
            if not target or target.startswith("data:"):
                continue
            path, _, place = target.partition("#")
            assert not place or any(each.get("id") == place for _, each in found.tags)
            assert (page.parent / unquote(path)).is_file() or not path
            count += 1
    assert count > 100


def test_the_same_files_give_the_same_bytes(results: Results, companion: Path, tmp_path: Path) -> None:
    site.write_companion(results, MODELS, tmp_path / "again")
    files = sorted(path.relative_to(companion) for path in companion.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*.*"))
    assert all((companion / path).read_bytes() == (tmp_path / "again" / path).read_bytes() for path in files)


def test_a_missing_file_is_named_with_what_makes_it(results: Results, tmp_path: Path) -> None:
    lacking = Results(tmp_path, {f"results/{MODELS[0]}/lens.csv": f"lens@{MODELS[0]}"})
    with pytest.raises(ResultError, match=rf"lens\.csv: cannot be read .*dvc repro lens@{MODELS[0]}"):
        site.write_companion(lacking, MODELS, tmp_path / "companion")
    assert not (tmp_path / "companion").exists()


def test_an_undeclared_table_is_named(tmp_path: Path) -> None:
    path = f"results/{MODELS[0]}/unheard_of.csv"
    with pytest.raises(ResultError, match=r"no table 'unheard_of\.csv' is declared"):
        site.write_companion(Results(tmp_path, {path: "stage"}), MODELS, tmp_path / "companion")


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


def unpacked(column: dict[str, Any]) -> list[Any]:
    """The cells of a column as assets/tables.js takes them, told anew here."""
    if "cells" in column:
        return column["cells"]
    if "letters" in column:
        alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        return [column["levels"][alphabet.index(letter)] for letter in column["letters"]]
    if "codes" in column:
        return [column["levels"][code] for code in column["codes"]]
    pairs = zip(column["runs"][::2], column["runs"][1::2], strict=True)
    return [column["levels"][code] for code, count in pairs for _ in range(count)]


def test_what_an_injection_does_in_nats_is_drawn_first() -> None:
    found = charts.quantities(DETECTION)
    assert found.names[0] == "log_odds_yes: injected less base"
    assert found.differences[found.names[0]] == ("log_odds_yes_injected", "log_odds_yes_base")
    assert "strength" not in found.names


def test_the_columns_after_a_quantity_are_its_interval() -> None:
    found = charts.quantities(FIT)
    assert found.intervals["signed_shift"] == ("signed_low", "signed_high")
    assert not {"signed_low", "signed_high"} & set(found.names)


@pytest.mark.parametrize("family", ["qwen2", "gemma"])
def test_tokens_are_spelled_and_steered_as_they_are_injected(folders: dict[str, Path], family: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders[family])
    conversation = (
        Turn(role="system", content=""),
        Turn(role="user", content="I am a researcher.", injected=True),
        Turn(role="assistant", content="{ }", injected=True),
        Turn(role="user", content="Was there a thought?"),
        Turn(role="assistant", content="The answer is"),
    )
    encoded = encode(tokenizer, conversation)
    rows = token_rows(tokenizer, {"info": conversation})
    assert "".join(rows["token"]) == tokenizer.decode(encoded.token_ids, clean_up_tokenization_spaces=False)
    assert list(rows.index[rows["steered"]]) == list(range(*encoded.steered))
    assert [sum(rows["turn"] <= turn) for turn in range(5)] == list(encoded.boundaries)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM)
        yield opened
        opened.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser without a network, that fails the test for every message in the console and every request abroad."""
    wrong: list[str] = []
    opened = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    opened.on("console", lambda message: wrong.append(f"{message.page and message.page.url}: {message.text}"))
    opened.on("weberror", lambda error: wrong.append(f"{error.page and error.page.url}: {error.error}"))
    opened.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else wrong.append(request.url)
    )
    yield opened
    opened.close()
    assert not wrong, "\n".join(wrong)


def opened(context: BrowserContext, path: Path) -> Page:
    page = context.new_page()
    page.goto(path.as_uri())
    return page


def table_of(page: Page, name: str) -> list[list[str]]:
    rows = page.locator(f"#{name} .scroll tbody tr")
    return [row.locator("th, td").all_text_contents() for row in rows.all()]


@needs_browser
def test_every_page_opens_in_silence(context: BrowserContext, companion: Path) -> None:
    page = context.new_page()
    for path in sorted(companion.rglob("*.html")):
        page.goto(path.as_uri())
        for chart in page.locator(".chart").all():
            chart.scroll_into_view_if_needed()
            chart.locator("svg").wait_for()
        assert page.locator("h1").count() == 1
        assert all("of" in told for told in page.locator("output").all_text_contents())


@needs_browser
def test_a_table_sorts_both_ways_by_keyboard(context: BrowserContext, companion: Path) -> None:
    page = opened(context, companion / MODELS[0] / "detection.html")
    header = page.locator("#detection-csv thead th", has_text="p_yes_injected").first
    place = page.locator("#detection-csv thead th").all_text_contents().index("p_yes_injected")
    header.locator("button").focus()
    for state, reverse in (("ascending", False), ("descending", True)):
        page.keyboard.press("Enter")
        assert header.get_attribute("aria-sort") == state
        numbers = [float(row[place]) for row in table_of(page, "detection-csv")]
        assert numbers == sorted(numbers, reverse=reverse) and len(set(numbers)) > 1
    assert page.locator("#detection-csv thead th[aria-sort=none]").count() == len(DETECTION.columns) - 1


@needs_browser
def test_filters_leave_what_they_say_and_the_chart_follows(context: BrowserContext, companion: Path) -> None:
    page = opened(context, companion / MODELS[0] / "detection.html")
    marks = page.locator("#detection-csv .chart svg .mark-symbol path[aria-label*='value']")
    marks.first.wait_for()
    before = marks.count()
    page.locator("#detection-csv .words").fill("bread")
    rows = table_of(page, "detection-csv")
    assert rows and all("bread" in row[0] for row in rows)
    page.get_by_label("prompt", exact=False).first.select_option(label="info")
    rows = table_of(page, "detection-csv")
    assert rows and {row[1] for row in rows} == {"info"}
    assert page.locator("#detection-csv output").text_content() == f"{len(rows)} of {before} rows"
    expect(page.locator("#detection-csv .mark-symbol path")).not_to_have_count(before)
    page.locator("#detection-csv .words").fill("no such row")
    assert table_of(page, "detection-csv") == []
    page.get_by_role("button", name="Clear").first.click()
    expect(page.locator("#detection-csv output")).to_have_text(re.compile(f"^{before} of"))


def bare(key: str) -> str:
    """The name of a value in a tooltip."""
    return key.strip().removesuffix(":")


@needs_browser
def test_hovering_shows_the_value(context: BrowserContext, companion: Path, results: Results) -> None:
    page = opened(context, companion / MODELS[0] / "detection.html")
    page.locator("#detection-csv .chart svg .mark-symbol path").first.hover(force=True)
    tooltip = page.locator("#vg-tooltip-element")
    tooltip.locator("td.value").first.wait_for()
    read = dict(
        zip(
            map(bare, tooltip.locator("td.key").all_text_contents()),
            tooltip.locator("td.value").all_text_contents(),
            strict=True,
        )
    )
    rows = results.table(DETECTION, f"results/{MODELS[0]}/detection.csv")
    row = rows[(rows["vector"] == read["vector"]) & (rows["prompt"] == read["prompt"])].iloc[0]
    shift = row["log_odds_yes_injected"] - row["log_odds_yes_base"]
    assert float(read["value"].replace("\N{MINUS SIGN}", "-")) == pytest.approx(shift, rel=1e-4)


@needs_browser
def test_text_that_would_break_a_page_is_shown(context: BrowserContext, companion: Path) -> None:
    page = opened(context, companion / MODELS[0] / "samples.html")
    assert page.locator("#samples-csv .texts p").first.text_content() == BREAKING
    assert "<img src=x" in table_of(page, "samples-csv")[0][-1]
    assert page.locator("img").count() == 0
    page = opened(context, companion / MODELS[0] / "prompt_text.html")
    assert "<img src=x" in (page.locator(".tokens mark b").text_content() or "")
    assert page.locator(".tokens mark b").count() == 1 and page.locator(".tokens b").count() == 3
    assert page.title() != "broken"


@needs_browser
def test_the_theme_follows_the_system_and_the_button(context: BrowserContext, companion: Path) -> None:
    page = opened(context, companion / "index.html")
    background = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(background)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(background)
    assert dark != light
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate(background) == dark
    page.get_by_role("button", name="Light theme").click()
    assert page.evaluate(background) == light


@needs_browser
def test_a_phone_scrolls_in_one_direction_and_the_keyboard_skips_to_the_content(
    context: BrowserContext, companion: Path
) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": 390, "height": 800})
    for path in (companion / "index.html", *sorted((companion / MODELS[0]).glob("*.html"))):
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
