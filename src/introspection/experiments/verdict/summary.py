"""The verdict on a model: every test in the order of the rule, and the class of the first that fails."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from introspection.experiments.battery.tables import FIT
from introspection.experiments.competence.statistics import unsteered
from introspection.experiments.competence.tables import COMPETENCE
from introspection.experiments.content.tables import CONTENT
from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.population.tables import POPULATION
from introspection.experiments.population.tables import SUMMARY as POPULATION_SUMMARY
from introspection.experiments.verdict.evidence import TESTS, Tables
from introspection.experiments.verdict.objections import OBJECTIONS, REGISTERED, RegisteredRule, load_objections
from introspection.experiments.verdict.tables import VERDICT
from introspection.experiments.written.tables import WRITTEN
from introspection.files import PROMPTS, read_json
from introspection.settings import Settings
from introspection.stimuli.prompts import Stimuli
from introspection.tables import Table


def summarise(settings: Settings, key: str, folder: Path) -> dict[str, object]:
    """`verdict.csv` and `verdict.json` of a model, whose result files lie in `folder`."""
    objections = load_objections(OBJECTIONS)
    registered = read_json(REGISTERED, RegisteredRule)
    tables = read_tables(settings, key, folder)
    rows = []
    for order, name in enumerate(settings.verdict.order, start=1):
        rows.append({"order": order, "test": name, **asdict(TESTS[name](tables, settings.verdict))})
    failed = [str(row["test"]) for row in rows if not row["passed"]]
    return {
        VERDICT.name: VERDICT.of(pd.DataFrame(rows)),
        "verdict.json": {
            "verdict": objections.tests[failed[0]].fails_as if failed else objections.passes_as,
            "failed": failed,
            "rule": rule_hash(settings),
            "rule_as_registered": rule_hash(settings) == registered.sha256,
        },
    }


def rule_hash(settings: Settings) -> str:
    """A hash of all that decides: the order of the tests, their thresholds, and when a model can answer."""
    rule = {"verdict": settings.verdict.model_dump(), "competence": settings.competence.model_dump()}
    return hashlib.sha256(json.dumps(rule, sort_keys=True).encode()).hexdigest()


def read_tables(settings: Settings, key: str, folder: Path) -> Tables:
    """The result files that the tests read. Raises ResultError for one that is missing."""

    def read(table: Table, stage: str) -> pd.DataFrame:
        return table.read(folder / table.name, f"make it with `dvc repro {stage}@{key}`")

    before = unsteered(read(COMPETENCE, "competence"))
    rule = settings.competence
    return Tables(
        prompt=Stimuli(PROMPTS).control_prompt,
        can_answer=before.can_answer(rule.accuracy_at_least, rule.answer_mass_at_least),
        accuracy=before.accuracy,
        detection=read(DETECTION, "detection"),
        written=read(WRITTEN, "written"),
        population=read(POPULATION, "population"),
        population_summary=read(POPULATION_SUMMARY, "population-summary"),
        battery_fit=read(FIT, "battery-fit"),
        content=read(CONTENT, "content"),
    )
