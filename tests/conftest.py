"""What all tests share: the small models of `small_models.py`, and in which order and how the tests are run.

What takes seconds to import is imported by a process that runs tests, and not by the one that only hands them out.
"""

from __future__ import annotations

import gc
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.small_study import ROOT, copy_project

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from introspection.model.language_model import LanguageModel
    from introspection.stimuli.prompts import Stimuli

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start: tests run beside each other
settings.register_profile("unhurried", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("unhurried")

POST = ROOT.parent / "shared" / "seed" / "post.txt"
FAMILIES = ("qwen2", "llama", "gemma", "gemma2", "mistral", "phi3", "gpt_neox", "gpt2")

LONG = ("pipeline", "dependencies", "report_paper", "soak", "executor", "trials", "new_experiment", "plan", "companion")
LONG += ("elsewhere", "try", "organism", "release", "docs")
"""Files that take the longest, in their order: begun first, so that no process is left alone with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {f"test_{name}": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONG)))


def pytest_collectstart() -> None:
    """Before the first test is collected."""
    gc.disable()  # what is imported stays: looking through it again and again is a quarter of the time that it takes
    importlib.import_module("introspection.injection.repengs")  # before any test imports repeng


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    importlib.import_module("torch").set_num_threads(1)


@pytest.fixture(scope="session")
def stimuli() -> Stimuli:
    from introspection.stimuli.prompts import load_stimuli

    return load_stimuli(ROOT / "data" / "prompts")


@pytest.fixture(scope="session")
def tokenizer(stimuli: Stimuli) -> Tokenizer:
    from tests.small_models import train_tokenizer

    return train_tokenizer(stimuli)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> dict[str, Path]:
    from tests.small_models import CONFIGS, save_model

    assert set(CONFIGS) == set(FAMILIES)
    root = tmp_path_factory.mktemp("models")
    return {family: save_model(root / family, family, tokenizer) for family in FAMILIES}


@pytest.fixture(scope="session", params=FAMILIES)
def any_model(request: pytest.FixtureRequest, folders: dict[str, Path]) -> LanguageModel:
    from tests.small_models import load

    return load(folders[request.param])


@pytest.fixture(scope="session")
def qwen2(folders: dict[str, Path]) -> LanguageModel:
    from tests.small_models import load

    return load(folders["qwen2"])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git would hand out, with DVC and without git."""
    return copy_project(tmp_path_factory.mktemp("project") / "copy")
