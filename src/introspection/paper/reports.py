"""The reports of the experiments: whatever folder of `introspection.experiments` has a module `report`.

A report module may have any of these functions, all of which read result files alone:

    tables(renderer, settings, model)    a model's tables; returns its values of the prose by name
    values_of_all(renderer, settings)    the tables and values that no single model has
    figures_of_all(gallery, settings)    the figures, each of all models
    findings(results, settings, model)   a model's rows in the table of every test (findings.py)
    claims(results, prompts, model)      what a model shows of the post's statements, by their quantity in
                                         data/published/statements.csv
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any

from introspection import experiments


def report_functions(name: str) -> list[Callable[..., Any]]:
    """The functions of this name in the experiments' reports, in the order of the folders' names."""
    folders = [f"{experiments.__name__}.{folder.name}" for folder in iter_modules(experiments.__path__) if folder.ispkg]
    modules = [import_module(f"{folder}.report") for folder in folders if find_spec(f"{folder}.report")]
    return [getattr(module, name) for module in modules if hasattr(module, name)]
