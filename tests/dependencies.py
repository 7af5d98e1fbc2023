"""What a stage can reach: the modules that its script imports, directly or not, read from the source.

No library of models is imported here, so that this can be asked of another copy of the project at once.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from introspection.experiments import Part, experiments_with

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
STAGES = {name: stage.get("do", stage) for name, stage in PIPELINE.items()}
CHANGES_NO_NUMBER = ("introspection.settings",)
"""Settings have no defaults (tests/test_config.py), so what they say is in params.yaml, which DVC tracks by key."""


DISCOVERING: dict[str, Part] = {
    "introspection.paper.reports": "report",
    "introspection.experiments.declared": "tables",
}
"""Modules that load a part of every experiment."""

PARTS = {"stages/measure.py": ("measure",), "stages/summarise.py": ("summary",)}
EXPERIMENTS = "src/introspection/experiments/"


def command(stage: dict[str, Any]) -> list[str]:
    """The script of a stage and its arguments."""
    return str(stage["cmd"]).split()[1:]


def declared(stage: dict[str, Any], code: bool) -> set[str]:
    """What a stage says that it depends on: its code, or all else."""
    return {path for path in stage["deps"] if path.startswith(("src/", "stages/")) == code}


def imported(name: str) -> set[str]:
    """The code that a stage imports, as it is to be declared."""
    script, *arguments = command(STAGES[name])
    more = [f"introspection.experiments.{e}.{part}" for e in arguments for part in PARTS.get(script, ()) if e[0] != "$"]
    text = (ROOT / script).read_text(encoding="utf-8")
    found = {script, *(f"stages/{other}.py" for other in ("report_common",) if f"from {other} import" in text)}
    modules = reached(ROOT / script, *more)
    discovered = [part for module, part in DISCOVERING.items() if module in modules]
    for part in discovered:
        modules |= reached(ROOT / script, *(f"introspection.experiments.{e}.{part}" for e in experiments_with(part)))
    rooms = {room(module) for module in modules if not is_bare(module)}
    if discovered:
        rooms = {"src/introspection/experiments" if each.startswith(EXPERIMENTS) else each for each in rooms}
    own = {"src/introspection/settings"} if name == "check" else set()  # of no other stage: they have no defaults
    return found | rooms | own


def reached(script: Path, *more: str) -> set[str]:
    """The modules of the package that a script imports, and those that it imports by name (`more`)."""
    found: set[str] = set()
    open_ends = [*_imports(script), *more]
    while open_ends:
        module = open_ends.pop()
        if module in found or module.startswith(CHANGES_NO_NUMBER):
            continue
        found.add(module)
        open_ends += _imports(_file(module))
        parent = module.rpartition(".")[0]
        if parent != "introspection":
            open_ends.append(parent)  # a package runs before its modules
    return found


def room(module: str) -> str:
    """The folder or the file by which a stage depends on a module, relative to the project.

    Of an experiment's folder it is the file: how the paper shows an experiment changes nothing that was measured.
    """
    path = _file(module).relative_to(ROOT)
    parts = path.parts  # src, introspection, room, ...
    return path.as_posix() if parts[2] == "experiments" or len(parts) == 3 else "/".join(parts[:3])


def is_bare(module: str) -> bool:
    """Whether a module is a package with nothing in it but its docstring, which no stage depends on."""
    path = _file(module)
    return path.name == "__init__.py" and len(ast.parse(path.read_text(encoding="utf-8")).body) <= 1


@cache
def _file(module: str) -> Path:
    base = ROOT / "src" / Path(*module.split("."))
    return base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"


@cache
def _imports(path: Path) -> tuple[str, ...]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if _file(name).is_file() else node.module for name in names]
    return tuple(name for name in found if name.startswith("introspection.") and _file(name).is_file())
