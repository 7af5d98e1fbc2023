"""The layer sweep in the report: every range, and the one that its rule chose."""

from __future__ import annotations

from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.sweep.choice import replay_search
from introspection.experiments.sweep.figure import Sweep, sweep_figure
from introspection.experiments.sweep.tables import SWEEP
from introspection.injection import dose
from introspection.paper import wording
from introspection.paper.gallery import Gallery
from introspection.paper.models import ReportedModel, reported_models
from introspection.paper.render import Renderer
from introspection.paper.results import Results
from introspection.settings import Settings

CHOSEN = "range.json"


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The range that was chosen for a model, and of how many."""
    results = renderer.results
    if not results.expects(model.path(SWEEP.name), model.path(CHOSEN)):
        return {}
    sweep, chosen = results.read(SWEEP, model.key), results.json(model.path(CHOSEN), dose.ChosenRange)
    values: dict[str, str] = {
        "sweep.chosen": wording.layers(chosen.first_layer, chosen.last_layer),
        "sweep.ranges": str(len(sweep[["first_layer", "last_layer"]].drop_duplicates())),
        "sweep.candidates": str(chosen.candidates),
    }
    if chosen.mode == "exhaustive":
        rule = settings.sweep
        guide = dose.Guide(rule.choose_concept, rule.choose_prompt, rule.earliest_start)
        replay = replay_search(sweep, guide)
        values |= {"sweep.replay.measured": str(replay.measured), "sweep.replay.behind": f"{replay.behind:.2f}"}
    return values


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """The rule that chooses a range."""
    rule = settings.sweep
    return {
        "sweep.concept": rule.choose_concept,
        "sweep.prompt": renderer.prompts.label(rule.choose_prompt),
        "sweep.earliest": wording.number(rule.earliest_start),
    }


def figures_of_all(gallery: Gallery, settings: Settings) -> None:
    """The heat maps of every model, for the concept and the prompt that the rule looks at."""
    results, rule = gallery.results, settings.sweep
    files = (SWEEP.name, CHOSEN, DETECTION.name)
    models = [model for model in reported_models(settings) if results.expects(*(model.path(name) for name in files))]
    if not models:
        return
    sweeps = []
    for model in models:
        table, detection = results.read(SWEEP, model.key), results.read(DETECTION, model.key)
        of_rule = table[(table["vector"] == rule.choose_concept) & (table["prompt"] == rule.choose_prompt)]
        base = detection.loc[detection["prompt"] == rule.choose_prompt, "log_odds_yes_base"].iloc[0]
        sweeps.append(Sweep(model.key, of_rule, model.dose(results).layers, chosen_of(results, model), float(base)))
    sources = [model.path(name) for model in models for name in (*files, dose.QUESTIONS)]
    gallery.add("sweep", sweep_figure(sweeps, gallery.look), sources)


def chosen_of(results: Results, model: ReportedModel) -> tuple[int, int]:
    """The range that the rule chose."""
    chosen = results.json(model.path(CHOSEN), dose.ChosenRange)
    return chosen.first_layer, chosen.last_layer
