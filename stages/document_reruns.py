"""Write docs/reruns.md: which stages an edit makes stale at once, by dvc.yaml (`make docs`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from common import PARAMS
from report_common import PIPELINE
from ruamel.yaml import YAML

from introspection.files import write_text

PAGE = Path("docs/reruns.md")
INTRODUCTION = """\
# What an edit reruns

Written by `make docs` from `dvc.yaml`. The tests hold what is declared there against what every stage is seen to read,
in both directions, and these tables against what `dvc status` says after every one of the edits.

These are the stages that an edit makes stale at once. Those after them run again only where one of these writes another
file than before. `*` stands for a model, an organism, a package or another key; a stage with one runs for that alone.
A row of a section or a folder is for what has no row of its own. `check` reads all of `params.yaml`.

Another version of a library makes nothing stale: no stage reads `constraints.txt`. Which versions made a paper, its
last section says; whether others give the same numbers, `make reproduce` does, which measures all and compares.
"""

Reruns = dict[str, list[str]]
"""By what is edited, the stages that are stale then, in the order of dvc.yaml."""


def reruns(stages: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[Reruns, Reruns]:
    """By key of params.yaml, and by file or folder that is no stage's output."""
    of_stages = {name: stage.get("do", stage) for name, stage in stages.items()}
    made = [any_item(out) for stage in of_stages.values() for out in _outputs(stage)]
    keys = {name: list(map(any_item, stage.get("params", ()))) for name, stage in of_stages.items()}
    files = {}
    for name, stage in of_stages.items():
        read = [any_item(each) for dep in stage["deps"] for each in _filled(dep, stages[name], params)]
        files[name] = [path for path in read if not any(within(path, out) or within(out, path) for out in made)]
    return _reruns(keys), _reruns(files)


def _reruns(read: Mapping[str, Sequence[str]]) -> Reruns:
    edits = sorted({each for of_stage in read.values() for each in of_stage} - {"*"})  # a path of the user's own
    return {edit: [name for name, parts in read.items() if any(within(edit, part) for part in parts)] for edit in edits}


def within(part: str, whole: str) -> bool:
    """Whether a file is or lies in a folder, or a key is or lies in a section."""
    return part == whole or part.startswith((f"{whole}/", f"{whole}."))


def any_item(text: str) -> str:
    """A declaration with a star for what stands for an item."""
    return re.sub(r"\$\{[^}]*\}", "*", text)


def _filled(dependency: str, stage: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """A dependency that an item names itself, by each item; any other as it is."""
    field = re.fullmatch(r"\$\{item\.(\w+)\}", dependency)
    return [item[field[1]] for item in params[stage["foreach"][2:-1]].values()] if field else [dependency]


def _outputs(stage: Mapping[str, Any]) -> Iterator[str]:
    for out in (*stage.get("outs", ()), *stage.get("metrics", ())):
        yield out if isinstance(out, str) else next(iter(out))


def page(stages: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """The page."""
    keys, files = reruns(stages, params)
    code = {edit: found for edit, found in files.items() if edit.startswith(("src/", "stages/"))}
    data = {edit: found for edit, found in files.items() if edit not in code}
    parts = [INTRODUCTION]
    for title, edits in (("Keys of params.yaml", keys), ("Data, models and the paper", data), ("Code", code)):
        rows = [f"| `{edit}` | {', '.join(f'`{name}`' for name in found)} |" for edit, found in edits.items()]
        parts.append("\n".join([f"## {title}", "", "| edited | stale |", "|---|---|", *rows, ""]))
    return "\n".join(parts)


@click.command()
@click.argument("output", type=click.Path(path_type=Path), default=PAGE)
def main(output: Path) -> None:
    """Write the page to OUTPUT."""
    pipeline, params = (
        YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")) for path in (PIPELINE, PARAMS)
    )
    write_text(output, page(pipeline["stages"], params))


if __name__ == "__main__":
    main()
