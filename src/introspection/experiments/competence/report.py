"""Competence in the report: whether what moves a model's answer may be called a report."""

from __future__ import annotations

from dataclasses import dataclass

from introspection import names
from introspection.experiments.competence.tables import COMPETENCE
from introspection.paper import wording
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.render import Renderer
from introspection.paper.results import Results
from introspection.settings import Settings

VERDICT = "competence.json"


@dataclass(frozen=True)
class Verdict:
    """What `competence.json` says: whether the model can answer, by the rule of params.yaml."""

    can_answer: bool


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """What a model gets right with nothing injected; of `competent` and `incompetent`, that is there which holds."""
    results = renderer.results
    if not is_measured(results, model):
        return {}
    table = results.read(COMPETENCE, model.key)
    (found,) = table[table["vector"] == names.NOTHING].to_dict("records")
    return {
        "competence.right": str(found["right"]),
        "competence.questions": str(found["questions"]),
        "competence.balanced": wording.share(found["balanced_accuracy"]),
        "competence.mass": wording.share(found["answer_mass"]),
        "competent" if can_answer(results, model) else "incompetent": "yes",
    }


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """The rule, and the models that cannot answer by it."""
    rule, results = settings.competence, renderer.results
    unable = [
        model.key
        for model in reported_models(settings)
        if is_measured(results, model) and not can_answer(results, model)
    ]
    values: dict[str, str] = {
        "competence.accuracy.least": wording.plain_percent(rule.accuracy_at_least),
        "competence.mass.least": wording.plain_percent(rule.answer_mass_at_least),
    }
    return values | ({"incompetent.models": wording.listing(unable)} if unable else {})


def competence_note(results: Results, model: ReportedModel) -> str:
    """What a figure says beside a model: its balanced accuracy, and whether it can answer; empty where not measured."""
    if not is_measured(results, model):
        return ""
    table = results.read(COMPETENCE, model.key)
    (found,) = table.loc[table["vector"] == names.NOTHING, "balanced_accuracy"]
    return f"controls right: {wording.share(found)}, {'can' if can_answer(results, model) else 'cannot'} answer"


def is_measured(results: Results, model: ReportedModel) -> bool:
    """Whether the pipeline measures a model's competence."""
    return results.expects(model.path(COMPETENCE.name), model.path(VERDICT))


def can_answer(results: Results, model: ReportedModel) -> bool:
    """Whether a model can answer the control questions."""
    return results.json(model.path(VERDICT), Verdict).can_answer
