"""Write docs/result-files.md from the tables as they are declared (`make docs`)."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import click

from introspection.experiments import experiments_with, load
from introspection.files import write_text
from introspection.rereading import tables as rereading
from introspection.tables import Column, Table

PAGE = Path("docs/result-files.md")
INTRODUCTION = """\
# Result files

Written by `make docs` from the declarations in `src/introspection/experiments/*/tables.py` and
`src/introspection/rereading/tables.py`, by which every file is checked when it is written and when it is read.

CSV in UTF-8 with a header and lines ended by `\\n`; cells with commas, quotes or line breaks are quoted. Numbers have
nine significant digits, and a missing one is an empty cell. Text is as it is: a token may be a space or a line break.
Programs outside read these files, so they change only with a major version.
"""
OF_MODELS = """\
## results/MODEL

`detection.csv`, `controls.csv` and `samples.csv` lie once more in `chosen_range/`, injected in the range that the sweep
chose.

| other files | |
|---|---|
| `model.json` | what exactly the model and its finetune are: source, commit or checksums, shape |
| `injection/questions.json` | where and how strongly vectors are injected before a question |
| `injection/replies.json` | the same while the model replies freely |
| `injection/sweep.json` | the strength in every range of the sweep, and what guides it |
| `controls_excluded.json` | the control questions that are left out of the means, and above which probability of yes |
| `lens_variants.json` | the ways to say yes that the lens sums, and those that are no single token of the model |
| `content_tokens.json` | for each concept, the token that it is looked for by, and whether that is the whole word |
| `range.json` | the range that the sweep chose, its answer, the rule in words, and how many ranges there were |
| `instrument.json` | what is planted in an organism beside what was measured on it |
| `injection/calibration.json` | the residual stream's mean norm, what fraction the model bears, what breaks next |
| `filler.json` | the user's turn 1 of prompts that the model does not read as written |
| `competence.json` | whether the unsteered model can answer the control questions, a DVC metric |
| `which_tokens.json` | whether the ten digits are one token each, how many concepts' words are, and which are not |
| `verdict.json` | the class of the model, the tests that it fails, and by which rule, a DVC metric |
| `vectors/*.gguf` | control vectors, as repeng writes them |
"""


def page() -> str:
    """All declared tables: those of the experiments, the post's figures, and what is read from these again."""
    measured = [table for name in experiments_with("tables") for table in declared(load(name, "tables")).values()]
    posts = {name: table for name, table in declared(rereading).items() if name.startswith("POST_")}
    again = {name: table for name, table in declared(rereading).items() if name not in posts}
    return "\n".join(
        [
            INTRODUCTION,
            OF_MODELS,
            *map(described, measured),
            "## data/published\n\nThe post's figures as it prints them.\n",
            *map(described, posts.values()),
            "## results/published\n\nThe post's figures read again: what their rounding allows.\n",
            *map(described, again.values()),
        ]
    )


def declared(module: ModuleType) -> dict[str, Table]:
    """The tables that a module declares, by the name it gives them, in its order."""
    return {name: value for name, value in vars(module).items() if isinstance(value, Table)}


def described(table: Table) -> str:
    """A table: its name, what it is about, what tells its rows apart, and its columns."""
    rows = [f"| `{column.name}` | {kind(column)} | {column.meaning} |" for column in table.columns]
    apart = ", ".join(f"`{name}`" for name in table.key)
    head = [f"### {table.name}", "", f"{table.about} Rows differ in {apart}.", "", "| column | | |", "|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def kind(column: Column) -> str:
    """What the cells of a column are: their type, their range, and whether they may be empty."""
    low, high = column.low, column.high
    between = "" if low == -math.inf else f" from {low:g}" + ("" if high == math.inf else f" to {high:g}")
    word = "True or False" if column.kind == "truth" else column.kind
    return word + between + (", or empty" if column.may_be_empty else "")


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=PAGE)
def main(path: Path) -> None:
    """Write the page to PATH."""
    write_text(path, page())


if __name__ == "__main__":
    main()
