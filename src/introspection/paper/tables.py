"""The paper's tables and the values of its prose, rendered from result files through templates."""

from __future__ import annotations

from pathlib import Path

from introspection.experiments.compared.tables import COMPARED
from introspection.experiments.instrument.check import held_out
from introspection.injection.dose import QUESTIONS
from introspection.paper import wording
from introspection.paper.findings import comparison_table, findings_of, render_comparison
from introspection.paper.models import compared_models, model_values, reported_models
from introspection.paper.prompts import Prompts
from introspection.paper.provenance import answer_values
from introspection.paper.render import Renderer, write_sources
from introspection.paper.reports import report_functions
from introspection.paper.results import Results
from introspection.rereading.report import SUMMARY_PATH, render_rereading
from introspection.settings import Settings
from introspection.stimuli.prompts import Stimuli


def render_tables(settings: Settings, stimuli: Stimuli, results: Results, templates: Path, output: Path) -> None:
    """Write every table of the paper, `values.tex` for its prose and `sources.json` (what each file was made of).

    Beside them the table of all tests for other programs, `compared.csv`.

    Experiments that no stage runs are left out, and the paper says so. Raises ResultError for a result file that a
    stage should have written and that is missing or broken.
    """
    renderer = Renderer(results, stimuli, templates, output)
    models = reported_models(settings)
    values = study_values(settings, renderer.prompts)
    for model in models:
        of_model = model_values(results, model)
        for tables in report_functions("tables"):
            of_model |= tables(renderer, settings, model)
        values |= {f"{model.number}.{name}": value for name, value in of_model.items()}
    for values_of_all in report_functions("values_of_all"):
        values |= values_of_all(renderer, settings)
    values["prompts.descriptions"] = renderer.phrase("prompt_descriptions", prompts=renderer.prompts)
    found = findings_of(results, settings, compared_models(settings))
    COMPARED.write(comparison_table(found), output / COMPARED.name)
    values |= render_comparison(renderer, found)
    values |= render_rereading(renderer, models)
    values |= answer_values(stimuli)
    sources = [SUMMARY_PATH] if results.expects(SUMMARY_PATH) else []
    sources += [model.path(QUESTIONS) for model in models]
    renderer.render("values", "values", sources, values=values, numbers=[model.number for model in models])
    write_sources(output, renderer.sources)


def study_values(settings: Settings, prompts: Prompts) -> dict[str, str]:
    """Values that belong to the study as a whole; some only say, by being there, that a condition holds."""
    models = reported_models(settings)
    values: dict[str, str] = {
        "models": wording.listing([model.key for model in models]),
        "concepts": wording.listing(list(settings.study.concepts)),
        "random.count": str(settings.study.random_directions),
        "unchanged": wording.number(wording.UNCHANGED_NATS),
        "prompts.count": wording.count(len(prompts.names)).capitalize(),
        "prompt": prompts.after_with(prompts.main),
    }
    real = [model.key for model in models if not model.organism]
    withheld = held_out(settings.organisms, settings.study.concepts)
    if withheld:
        values["held.out"] = wording.listing(withheld)
    conditions = {
        "organisms": any(model.organism for model in models),
    }
    if real:
        values["real.models"] = wording.listing(real)
    return values | {name: "yes" for name, holds in conditions.items() if holds}
