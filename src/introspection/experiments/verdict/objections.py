"""The objections as data, and the rule as it was registered."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from introspection.experiments.verdict.evidence import TESTS
from introspection.files import ResultError, read_yaml

OBJECTIONS, REGISTERED = Path("data/objections.yaml"), Path("data/registered_rule.json")


class Objection(BaseModel):
    """An objection to calling an answer a report, who has raised it, the class of a model that it is true of, and
    whether the figures that the post prints can answer it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    objection: str
    raised: str
    fails_as: str
    in_the_post: str


class Objections(BaseModel):
    """The file `objections.yaml`: by test, the objection. passes_as: the class of a model of which none is true.

    zoo: by organism of the zoo, the test that what is planted fails first, or `passes`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    passes_as: str
    tests: dict[str, Objection]
    zoo: dict[str, str]

    def class_of(self, test: str) -> str:
        """The class of what fails a test first, or of what passes them all (`passes`)."""
        return self.passes_as if test == "passes" else self.tests[test].fails_as


class RegisteredRule(BaseModel):
    """The rule as it was fixed: its hash, the day, and the models of which results had been seen by then."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    date: str
    seen_before: tuple[str, ...]


def load_objections(path: Path) -> Objections:
    """The objections, one for each test. Raises ResultError where a test has none."""
    objections = read_yaml(path, Objections, ResultError)
    if missing := set(TESTS) ^ set(objections.tests):
        raise ResultError(f"{path}: tests: {min(missing)!r} is either no test or has no objection")
    if unknown := [name for name in objections.zoo.values() if name != "passes" and name not in TESTS]:
        raise ResultError(f"{path}: zoo: found {unknown[0]!r}; allowed: passes, {', '.join(TESTS)}")
    return objections
