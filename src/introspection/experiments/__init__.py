"""The experiments, a folder each. All parts are optional, and a new folder is found by being there:

tables.py   the result files, their columns and meaning
measure.py  trials(subject), the rows that it will run, and measure(subject), what its result files hold
summary.py  summarise(source), result files made of other result files alone
report.py   its tables, figures and values of the paper, from result files alone
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Literal

Part = Literal["tables", "measure", "summary", "report"]


def experiments_with(part: Part) -> list[str]:
    """The names of the experiments that have a part, in alphabetical order."""
    folder = Path(__file__).parent
    packages = sorted(module.name for module in pkgutil.iter_modules([str(folder)]) if module.ispkg)
    return [name for name in packages if (folder / name / f"{part}.py").is_file()]


def load(experiment: str, part: Part) -> ModuleType:
    """A part of an experiment."""
    return importlib.import_module(f"{__name__}.{experiment}.{part}")
