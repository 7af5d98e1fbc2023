"""Ask the tests of every mutant that mutmut makes of what the numbers go through, and name those that no test notices.

    python -m tests.mutants [PATTERN]...

PATTERN: of mutants' names, with `*`; all by default. mutmut starts pytest anew for each of them. Here each is asked in
a fork of a process in which the tests have run once, in a tenth of the time: all first by their quick tests, then those
that are still unnoticed, and not explained, by the others. What was found is in mutants/asked.tsv and holds until the
file that has the mutant changes. The exit status is 1 where one lives that tests/mutants.md does not explain.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import os
import re
import shutil
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from mutmut.__main__ import create_mutants
from mutmut.configuration import config
from mutmut.mutation import trampoline
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.utils.file_utils import copy_src_dir, setup_source_paths

MADE = Path("mutants")
ASKED = MADE / "asked.tsv"
EXPLAINED = Path(__file__).with_suffix(".md")
LIVES, NOTICED, TOO_LONG, NO_TEST, UNNOTICED = "lives", "noticed", "too long", "no test", "not by the quick tests"
QUICK = 12.0  # seconds of tests that every mutant is asked before any is asked more


def made(patterns: Sequence[str]) -> dict[str, str]:
    """Make the mutants of every file. Their names, as `introspection.intervals.x_percentile_interval__mutmut_3`, each
    with a hash of the file that it is in."""
    trampoline.set_mutant_under_test("mutant_generation")
    shutil.rmtree(MADE / "src", ignore_errors=True)  # mutmut keeps what it finds there
    MADE.mkdir(exist_ok=True)
    copy_src_dir()
    setup_source_paths()
    create_mutants(os.cpu_count() or 1)
    found: dict[str, str] = {}
    for path in sorted(MADE.rglob("*.py.meta")):
        source = path.relative_to(MADE).with_suffix("")
        digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
        data = SourceFileMutationData(path=source)
        data.load()
        found |= {name: digest for name in data.exit_code_by_key if any(fnmatch(name, each) for each in patterns)}
    return found


class Asking:
    """A pytest plugin that runs the tests once and then asks those of each mutant that call what it changes."""

    def __init__(self, mutants: dict[str, str], processes: int, explains: Callable[[str], bool]) -> None:
        self._mutants, self._processes, self._explains = mutants, processes, explains
        self._failed = False
        self._running = ""
        self._items: dict[str, Any] = {}
        self._callers: dict[str, set[str]] = defaultdict(set)
        self._took: dict[str, float] = {}
        self._files: list[str] = []
        self._noticed: dict[str, Counter[str]] = defaultdict(Counter)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """After the profile of conftest.py: the first example that fails is enough, and none is remembered."""
        phases = (Phase.explicit, Phase.generate)
        hypothesis_settings.register_profile("mutants", phases=phases, database=None, deadline=None)
        hypothesis_settings.load_profile("mutants")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed |= report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._warm(session.items)
        caches = [each for each in gc.get_objects() if isinstance(each, functools._lru_cache_wrapper) and _ours(each)]
        gc.freeze()
        asked = _asked()
        before = {name: asked.get((name, digest), "") for name, digest in self._mutants.items()}
        waiting, later = ([name for name, answer in before.items() if answer == known] for known in ("", UNNOTICED))
        later = [name for name in later if not self._explains(name)]
        print(f"\n{len(self._items)} tests, {len(before)} mutants, of which {len(waiting + later)} are to be asked")
        children: dict[int, tuple[str, float]] = {}  # by process: the mutant, and until when it may take
        with ASKED.open("a", encoding="utf-8") as file:
            while waiting or later or children:
                while (waiting or later) and len(children) < self._processes:
                    quickly = bool(waiting)
                    name = (waiting or later).pop(0)
                    tests, whole = self._tests(name, quickly)
                    limit = time.monotonic() + 20 + 4 * sum(self._took[test] for test in tests)
                    children[self._ask(name, tests, caches, whole)] = name, limit
                for process, status in list(_ended(children)):
                    name, _ = children.pop(process)
                    answer = self._answer(name, status)
                    later += [name] if answer == UNNOTICED and not self._explains(name) else []
                    file.write(f"{name}\t{self._mutants[name]}\t{answer}\n")
                    file.flush()
                time.sleep(0.005)
        return True

    def _warm(self, items: Sequence[Any]) -> None:
        """Run every test, unchanged, and note which functions it calls and how long it takes."""

        def called(function: str, caller: object = None) -> None:
            self._callers[function].add(self._running)

        trampoline.record_trampoline_hit = called
        trampoline.set_mutant_under_test("stats")
        self._items = {item.nodeid: item for item in items}
        self._files = list(dict.fromkeys(test.partition("::")[0] for test in self._items))
        for place, item in enumerate(items):
            self._running, begun = item.nodeid, time.monotonic()
            elsewhere = next(other for other in items if other.path != item.path)
            self._run(item, items[place + 1] if place + 1 < len(items) else elsewhere)
            self._took[item.nodeid] = time.monotonic() - begun
            if self._failed:
                pytest.exit(f"{item.nodeid} fails with nothing changed", returncode=2)
        trampoline.set_mutant_under_test("")

    def _tests(self, mutant: str, quickly: bool) -> tuple[list[str], bool]:
        """The tests that the mutant is asked, and whether they are all that call what it changes."""
        function = mutant.rpartition("__mutmut_")[0]
        tests = self._in_order(self._callers[function], function.rpartition(".")[0])
        took = [sum(self._took[test] for test in tests[: place + 1]) for place in range(len(tests))]
        quick = [test for test, until in zip(tests, took, strict=True) if until <= QUICK] or tests[:1]
        return (quick, len(quick) == len(tests)) if quickly else (tests, True)

    def _in_order(self, tests: Iterable[str], module: str) -> list[str]:
        """File by file, since what its tests share is made once: first those that have noticed most mutants of the
        module, then the one that takes the least."""
        by_file: dict[str, list[str]] = defaultdict(list)
        for test in tests:
            by_file[test.partition("::")[0]].append(test)
        noticed = self._noticed[module]
        files = sorted(by_file, key=lambda each: (-noticed[each], sum(self._took[test] for test in by_file[each])))
        return [test for each in files for test in sorted(by_file[each], key=self._took.__getitem__)]

    def _answer(self, mutant: str, status: int) -> str:
        """What the exit status says; one above all of ours is the number of the file whose test has failed."""
        if status >= _FIRST_FILE:
            self._noticed[mutant.rpartition(".")[0]][self._files[status - _FIRST_FILE]] += 1
        return _BY_STATUS.get(status, NOTICED)

    @staticmethod
    def _run(item: Any, following: Any) -> None:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)

    def _ask(self, mutant: str, tests: Sequence[str], caches: Sequence[Any], whole: bool) -> int:
        """A process that runs the tests until one fails, and ends with what that says."""
        process = os.fork()
        if process:
            return process
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        for cache in caches:  # what the unchanged code has put there
            cache.cache_clear()
        trampoline.set_mutant_under_test(mutant)
        status = (_LIVES if whole else _UNNOTICED) if tests else _NO_TEST
        for place, test in enumerate(tests):
            try:
                self._run(self._items[test], self._items[tests[min(place + 1, len(tests) - 1)]])
            except BaseException:
                self._failed = True
            if self._failed:
                status = _FIRST_FILE + self._files.index(test.partition("::")[0])
                break
        os._exit(status)


def _ours(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).startswith("introspection")


_LIVES, _NO_TEST, _TOO_LONG, _UNNOTICED, _FIRST_FILE = 0, 1, 2, 3, 4
_BY_STATUS = {_LIVES: LIVES, _NO_TEST: NO_TEST, _TOO_LONG: TOO_LONG, _UNNOTICED: UNNOTICED}


def _ended(children: dict[int, tuple[str, float]]) -> Iterator[tuple[int, int]]:
    """The processes that have ended, or have been ended for taking too long, and their status."""
    for process, (_, limit) in children.items():
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            yield process, os.waitstatus_to_exitcode(status)
        elif time.monotonic() > limit:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            yield process, _TOO_LONG


def _asked() -> dict[tuple[str, str], str]:
    """By mutant and hash of its file, what was found until now."""
    lines = ASKED.read_text(encoding="utf-8").splitlines() if ASKED.is_file() else []
    return {(name, digest): answer for name, digest, answer in (line.split("\t") for line in lines)}


def explained(text: str) -> set[str]:
    """The mutants that the table of tests/mutants.md names, as `matched.covariance_vectors 4`, without `x_`."""
    found = set()
    for cell in re.findall(r"^\|[^|]*\|[^|]*\|([^|]*)\|$", text, re.MULTILINE):
        for module, functions in re.findall(r"`([\w.]+)` ([^`]*)", cell):
            function = ""
            for word in re.findall(r"[\w.]+", functions):
                function = function if word.isdigit() else word
                found |= {f"{module}.{function} {word}"} if word.isdigit() else set()
    return found


def is_explained(mutant: str, reasons: set[str]) -> bool:
    """Whether one of the reasons is this mutant's; they name its module by its end."""
    name, _, number = mutant.rpartition("__mutmut_")
    module, _, function = name.rpartition(".")
    function = re.sub(r"^xǁ|^x_", "", function).replace("ǁ", ".")
    return any(f"{module}.{function} {number}".endswith(f".{reason}") for reason in reasons)


def spellings(text: str) -> list[re.Pattern[str]]:
    """What tests/mutants.md says may be spelt in several ways, each a pattern of all of them."""
    return [re.compile(each) for each in re.findall(r"^\| `([^`|]+)` \|[^|]*\|$", text, re.MULTILINE)]


def is_spelling(diff: str, allowed: Sequence[re.Pattern[str]]) -> bool:
    """Whether what a mutant takes out and what it puts in are the same but for one of the spellings."""
    sides = [" ".join(re.findall(rf"^\{sign}(?!\{sign})\s*(.*)", diff, re.MULTILINE)) for sign in "-+"]

    def without(spelling: re.Pattern[str]) -> list[str]:
        return [re.sub(r",\s*\)", ")", spelling.sub("", side)) for side in sides]

    return any(one == other for one, other in map(without, allowed))


def main(patterns: Sequence[str]) -> int:
    """Make the mutants, ask, and say which live."""
    mutants, text = made(patterns or ["*"]), EXPLAINED.read_text(encoding="utf-8")
    reasons, allowed = explained(text), spellings(text)

    @functools.cache
    def explains(mutant: str) -> bool:
        return is_explained(mutant, reasons) or is_spelling(get_diff_for_mutant(mutant), allowed)

    sys.path.insert(0, str(MADE / "src"))
    arguments = [*config().pytest_add_cli_args, *config().pytest_add_cli_args_test_selection]
    status = pytest.main(arguments, plugins=[Asking(mutants, os.cpu_count() or 1, explains)])
    if status not in (0, 5):
        return int(status)
    asked = _asked()
    answers = {name: asked.get((name, digest), "") for name, digest in mutants.items()}
    for answer in (NOTICED, TOO_LONG, LIVES, NO_TEST, UNNOTICED):
        print(f"{answer}: {sum(each == answer for each in answers.values())}")
    unexplained = [name for name, each in answers.items() if each in (LIVES, NO_TEST, UNNOTICED) and not explains(name)]
    print("\n".join(["living and not explained:", *unexplained] if unexplained else ["those that live are explained"]))
    return int(bool(unexplained))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
