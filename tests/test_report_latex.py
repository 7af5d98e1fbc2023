"""Every value goes through one door into LaTeX: whatever the text, it is shown, and never run."""

from __future__ import annotations

import re
import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError

from introspection.paper.latex import BOX_WIDTH, BREAK_EVERY, LONG_RUN, Latex, environment, escape, token
from introspection.paper.latexmk import BuildError, build_pdf, problems
from tests.synthetic_results import HOSTILE, REPOSITORY

COMMANDS = {
    r"\textbackslash{}": "\\",
    r"\textasciicircum{}": "^",
    r"\textasciitilde{}": "~",
    r"\textquotesingle{}": "'",
    r"\textquotedbl{}": '"',
    r"\textasciigrave{}": "`",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\visiblespace{}": " ",
    r"\newlinemark{}": "\n",
    r"\ {}": " ",
    r"\breakhere{}": "",
    r"\breakanywhere{}": "",
    r"\emptytext{}": "",
    **{"\\" + character: character for character in "{}$&#%_"},
}
SPECIAL = set("\\{}$&#%_^~")
anything = st.text(st.characters(categories=None) | st.sampled_from("\\{}$&#%_^~\"'`<>-\n\t\u202e\u200b😀猫"))


def read_back(latex: str) -> str:
    """The text that LaTeX would show, by a small reader of its own that knows the commands above and no others."""
    text, position, closers = [], 0, []
    while position < len(latex):
        rest = latex[position:]
        character = re.match(r"\\(?:unicodechar|codepoint)\{([0-9A-F]{4,6})\}", rest)
        command = next((name for name in sorted(COMMANDS, key=len, reverse=True) if rest.startswith(name)), None)
        if character:
            text.append(chr(int(character.group(1), 16)))
            position += character.end()
        elif rest.startswith(r"\righttoleft{"):
            closers.append("}")
            position += len(r"\righttoleft{")
        elif closers and rest.startswith("}"):
            closers.pop()
            position += 1
        elif command is not None:
            text.append(COMMANDS[command])
            position += len(command)
        else:
            assert rest[0] not in SPECIAL, f"{rest[:20]!r} would be run"
            assert rest[0].isascii()
            assert rest[0].isprintable()
            text.append(rest[0])
            position += 1
    assert not closers
    return "".join(text)


@settings(deadline=None)
@given(anything)
def test_escaped_text_is_inert_and_says_the_same(text: str) -> None:
    assert read_back(escape(text)) == text


@settings(deadline=None)
@given(anything)
def test_a_token_says_the_same_with_its_spaces_visible(text: str) -> None:
    latex = token(text)
    assert latex.startswith(r"\token{")
    assert " " not in latex
    boxes = latex.removeprefix(r"\token{").removesuffix("}").split(r"}\breakhere{}\token{")
    assert "".join(map(read_back, boxes)) == text
    assert all(len(read_back(box)) <= BOX_WIDTH for box in boxes)


@settings(deadline=None)
@given(anything)
def test_shapeless_characters_are_shown_as_code_points(text: str) -> None:
    latex = escape(text)
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Mn") and character != "\n":
            assert rf"\codepoint{{{ord(character):04X}}}" in latex
    assert "\\unicodechar{FFFD}" not in latex


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a b", "a b"),
        (" a", r"\ {}a"),
        ("a ", r"a\ {}"),
        ("a  b", r"a \ {}b"),
        ("a\nb", r"a\newlinemark{}\breakhere{}b"),
        ("a\n b", r"a\newlinemark{}\breakhere{}\ {}b"),
        ("a \nb", r"a \newlinemark{}\breakhere{}b"),
        ("\na b", r"\newlinemark{}\breakhere{}a b"),
    ],
)
def test_a_space_that_latex_would_drop_is_kept(text: str, latex: str) -> None:
    assert escape(text) == latex


def test_lines_break_inside_long_runs_alone_and_first_where_a_sign_allows_it() -> None:
    anywhere, here, every = r"\breakanywhere{}", r"\breakhere{}", BREAK_EVERY
    for short in ("x" * LONG_RUN, "ab " + "x" * LONG_RUN, "x" * LONG_RUN + " ab"):
        assert escape(short) == short
    broken = anywhere.join(["x" * every] * (LONG_RUN // every) + ["x" * (LONG_RUN % every + 1)])
    assert escape("x" * (LONG_RUN + 1)) == broken
    assert escape("a/b " + "x" * (LONG_RUN + 1)) == "a/b " + broken, "counted from the space on, which breaks itself"
    assert escape("x" * 5 + "/" + "x" * LONG_RUN).startswith("xxxxx/" + here + "x" * every + anywhere)
    for wide in "\u732b\uff21":
        assert escape(f"a{wide}b") == rf"a\unicodechar{{{ord(wide):04X}}}{here}b"
    arabic = "\u0645\u0631"
    assert escape(f"a{arabic}b") == r"a\righttoleft{\unicodechar{0645}\unicodechar{0631}}b"
    assert escape(arabic) == r"\righttoleft{\unicodechar{0645}\unicodechar{0631}}"


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Zs", "Zl", "Zp", "Cc"]), min_size=60))
def test_a_line_can_break_inside_a_long_run(text: str) -> None:
    pieces = re.split(r"\\break(?:here|anywhere)\{\}", escape(text))
    commands = r"\\(?:unicodechar|codepoint)\{[0-9A-F]+\}|\\righttoleft\{|\\[a-z]+\{\}|\\."
    assert all(len(re.sub(commands, "x", piece)) <= 14 for piece in pieces)


def test_templates_escape_every_value_and_refuse_missing_ones(tmp_path: Path) -> None:
    (tmp_path / "t").write_text(r"\bf{<< value >>} <% for x in values %><< x|upper >><% endfor %><# gone #>")
    jinja = environment(tmp_path)
    rendered = jinja.get_template("t").render(value="50% $ \\x", values=["a_b"])
    assert rendered == r"\bf{50\% \$ \textbackslash{}x} A\_B"
    with pytest.raises(UndefinedError, match="value"):
        jinja.get_template("t").render(values=[])
    with pytest.raises(TypeError, match=r"^cannot print None in the paper: give it a value$"):
        jinja.get_template("t").render(value=None, values=[])
    assert jinja.from_string("<< value >>").render(value=Latex(r"\emph{x}")) == r"\emph{x}"


def test_numbers_are_escaped_as_text() -> None:
    assert escape(-0.5) == "-0.5"
    with pytest.raises(TypeError):
        escape(b"bytes")


CELL = r">{\raggedright\arraybackslash}p{0.62\textwidth}"  # as replies are set


@pytest.fixture(scope="module")
def hostile_pdf(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The text of a PDF with a page for each hostile string, as LaTeX set it."""
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copyfile(REPOSITORY / "paper" / "preamble.tex", folder / "preamble.tex")
    pages = [
        rf"\noindent START {escape(text)} END\par {{\raggedright {token(text)}\par}} "
        rf"\begin{{tabular}}{{{CELL}}}{escape(text * 5)}\end{{tabular}}\clearpage"
        for text in HOSTILE
    ]
    body = "\n".join(pages)
    (folder / "hostile.tex").write_text(f"\\input{{preamble}}\n\\begin{{document}}\n{body}\n\\end{{document}}\n")
    pdf = build_pdf(folder, "hostile.tex").pdf
    files = [line.split(" ", 1) for line in pdf.with_suffix(".fls").read_text().splitlines()]  # as LaTeX recorded them
    written = [Path(name) for kind, name in files if kind == "OUTPUT" and "texmf" not in name]  # but for its own caches
    assert {path.parent for path in written} == {Path("_latex")}
    assert not any(Path(name).name in ("passwd", "ran") for _, name in files) and not [*folder.rglob("ran")]
    done = subprocess.run(["pdftotext", "-raw", str(pdf), "-"], capture_output=True, check=True)
    return done.stdout.decode().split("\f")


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_texts_are_seen_in_the_pdf(hostile_pdf: list[str], number: int) -> None:
    page = unicodedata.normalize("NFKC", re.sub(r"\s", "", hostile_pdf[number]))
    for character in HOSTILE[number]:
        if character in " \n":
            continue
        shown = unicodedata.normalize("NFKC", character) in page
        assert shown or f"U+{ord(character):04X}" in page, f"U+{ord(character):04X} is missing"
    assert "root:" not in page


def test_latex_that_fails_is_explained(tmp_path: Path) -> None:
    (tmp_path / "bad.tex").write_text("\\documentclass{article}\\begin{document}\\nosuchcommand\\end{document}")
    with pytest.raises(BuildError, match=r"Undefined control sequence"):
        build_pdf(tmp_path, "bad.tex")


def test_the_log_is_read_for_what_spoils_a_paper() -> None:
    log = "\n".join(
        [
            r"Overfull \hbox (12.3pt too wide) in paragraph at lines 3--4",
            r"Overfull \hbox (0.3pt too wide) in paragraph at lines 5--6",
            "LaTeX Warning: Reference `x' on page 1 undefined on input line 3.",
            "Package natbib Warning: Citation `y' on page 1 undefined on input line 4.",
            "LaTeX Warning: Label(s) may have changed.",
        ]
    )
    assert len(problems(log)) == 3


def test_a_template_has_no_lines_of_its_instructions_and_no_escaping_but_ours(tmp_path: Path) -> None:
    (tmp_path / "rows.tex").write_text("<% if shown %>\n  << text >> << text|token >>\n  <% endif %>\nend\n")
    rendered = environment(tmp_path).get_template("rows.tex").render(shown=True, text="a & b <c>")
    assert rendered == f"  {escape('a & b <c>')} {token('a & b <c>')}\nend\n"


@given(st.text(alphabet="ab \u732b\uff21\u200b\ufffd", min_size=1, max_size=120))
@example("x" * (3 * BOX_WIDTH + 1))
def test_a_token_is_cut_where_its_box_would_be_too_wide_and_nowhere_else(text: str) -> None:
    def width(piece: str) -> int:
        return sum(8 if each in "\u200b\ufffd" else 2 if each in "\u732b\uff21" else 1 for each in piece)

    boxes = token(text).removeprefix(r"\token{").removesuffix("}").split(r"}\breakhere{}\token{")
    pieces = [read_back(box) for box in boxes]
    assert "".join(pieces) == text and all(pieces)
    for piece, after in zip(pieces, [*pieces[1:], ""], strict=True):
        assert width(piece) <= BOX_WIDTH or len(piece) == 1
        assert not after or width(piece) + width(after[0]) > BOX_WIDTH
