"""Run stages, each in a process of its own, and write down what each reads: files of the project, keys of params.yaml.

python tests/trace.py RUNS.json RECORDS.json

RUNS: a list of runs, each the script of a stage and its arguments. RECORDS: by run, in their order, what it read; it
ends before the first run that fails, whose exit status is this one's.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parents[1]))
from scripts.forked_stages import import_shared, leave

files: set[str] = set()
keys: set[str] = set()
sections: set[str] = set()  # on the way to a key, or for the names of its keys
_names: dict[int, str] = {}
_kept: list[BaseModel] = []  # so that no other object takes the id of one that is named


def note_file(event: str, arguments: tuple[Any, ...]) -> None:
    """Take down a file that is opened for reading, if it lies in the project."""
    if event != "open" or not isinstance(arguments[0], (str, os.PathLike)):
        return
    path, mode = Path(arguments[0]).absolute(), arguments[1]
    writes = isinstance(mode, str) and set(mode) & set("wxa+")
    if not writes and path.is_relative_to(Path.cwd()) and path.is_file():
        files.add(path.relative_to(Path.cwd()).as_posix())


def name_sections(value: Any, name: str) -> None:
    """Let every section of the settings take down what is read of it."""
    if isinstance(value, dict):
        for key, part in value.items():
            name_sections(part, f"{name}{key}.")
    elif isinstance(value, BaseModel):
        _names[id(value)] = name
        _kept.append(value)
        for field in type(value).model_fields:
            name_sections(vars(value)[field], f"{name}{field}.")


def note_key(self: BaseModel, attribute: str) -> Any:
    """An attribute of a section, taken down where it is a field."""
    name = _names.get(id(self))
    if name is not None:
        if attribute in type(self).model_fields:
            (sections if _is_section(vars(self)[attribute]) else keys).add(name + attribute)
        elif attribute.startswith("model_dump"):
            return partial(note_dump, self, name, attribute)
    return object.__getattribute__(self, attribute)


def note_dump(self: BaseModel, name: str, dump: str, *, include: set[str] | None = None, **named: Any) -> Any:
    """What a dump of a section gives, the fields taken down that are in it: all, where it names none."""
    keys.update(name + field for field in include or type(self).model_fields)
    return object.__getattribute__(self, dump)(include=include, **named)


def _is_section(value: Any) -> bool:
    """Whether a value is no value itself, but holds sections."""
    return isinstance(value, BaseModel) or (isinstance(value, dict) and any(map(_is_section, value.values())))


def trace(record: Path, script: str, arguments: list[str]) -> None:
    """Run the script as DVC would, and write the record though it fails."""
    settings_module = import_module("introspection.settings")
    load = settings_module.load_settings

    def load_and_name(path: Path) -> Any:
        found = load(path)
        name_sections(found, "")
        BaseModel.__getattribute__ = note_key  # type: ignore[method-assign]
        return found

    settings_module.load_settings = load_and_name
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent.resolve()))
    sys.addaudithook(note_file)
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        record.write_text(json.dumps({"files": sorted(files), "keys": sorted(keys), "sections": sorted(sections)}))


def main(runs: Path, records: Path) -> int:
    """Trace each run in a process that forks from this one; this one imports nothing of the project."""
    import_shared()
    traced: list[Any] = []
    status = 0
    part = records.with_suffix(".part")
    for script, *arguments in json.loads(runs.read_text()):
        child = os.fork()
        if not child:
            leave(partial(trace, part, script, arguments))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            print(f"{script} {' '.join(arguments)} ended with {status}", file=sys.stderr)
            break
        traced.append(json.loads(part.read_text()))
    records.write_text(json.dumps(traced))
    return status


if __name__ == "__main__":
    leave(lambda: sys.exit(main(*map(Path, sys.argv[1:]))))
