"""The companion: what its pages say, that all of it is shown as text, and how it behaves in a browser."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import altair as alt
import jsonschema
import pandas as pd
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from transformers import AutoTokenizer

from introspection.companion import charts, site
from introspection.experiments.battery.tables import FIT
from introspection.experiments.declared import measured
from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.prompt_text.tables import PROMPT_TEXT
from introspection.experiments.prompt_text.tokens import token_rows
from introspection.files import ResultError
from introspection.paper.results import Results
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Turn
from tests.parsed_html import BREAKING, parsed, unpacked
from tests.synthetic_results import settings, stages_of, write_project

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


def test_every_chart_is_one_that_vega_lite_knows(companion: Path) -> None:
    script = (companion / "assets" / site.SPECS).read_text(encoding="utf-8")
    specs = json.loads(script.removeprefix("window.chartsOfTables=").removesuffix(";\n"))
    assert len(specs) > 20
    for spec in specs.values():
        alt.Chart.from_dict(spec)  # raises where the schema does not allow it
    wrong = next(iter(specs.values())) | {"autosize": {"type": "round"}}
    with pytest.raises(jsonschema.ValidationError, match="'round' is not one of"):
        alt.Chart.from_dict(wrong)


def test_a_missing_file_is_named_with_what_makes_it(results: Results, tmp_path: Path) -> None:
    lacking = Results(tmp_path, {f"results/{MODELS[0]}/lens.csv": f"lens@{MODELS[0]}"})
    with pytest.raises(ResultError, match=rf"lens\.csv: cannot be read .*dvc repro lens@{MODELS[0]}"):
        site.write_companion(lacking, MODELS, tmp_path / "companion")
    assert not (tmp_path / "companion").exists()


def test_an_undeclared_table_is_named(tmp_path: Path) -> None:
    path = f"results/{MODELS[0]}/unheard_of.csv"
    with pytest.raises(ResultError, match=r"no table 'unheard_of\.csv' is declared"):
        site.write_companion(Results(tmp_path, {path: "stage"}), MODELS, tmp_path / "companion")


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
