"""The paper's tables and the values of its prose, rendered from result files through templates."""

from __future__ import annotations

from pathlib import Path

from introspection.experiments.controls.report import render_controls
from introspection.experiments.detection.report import render_detection
from introspection.experiments.lens.report import render_content, render_lens
from introspection.experiments.samples.report import render_post_replies, render_replies
from introspection.experiments.sweep.report import render_sweep
from introspection.paper.models import model_values, studies, study_values
from introspection.paper.provenance import model_file_values, render_prompts, render_provenance
from introspection.paper.render import Renderer, write_sources
from introspection.paper.results import Results
from introspection.rereading.report import SUMMARY, render_rereading
from introspection.settings import Settings
from introspection.stimuli.prompts import Stimuli


def render_tables(settings: Settings, stimuli: Stimuli, results: Results, templates: Path, output: Path) -> None:
    """Write every table of the paper, `values.tex` for its prose and `sources.json` (what each file was made of).

    Experiments that no stage runs are left out, and the paper says so. Raises ResultError for a result file that a
    stage should have written and that is missing or broken.
    """
    renderer = Renderer(results, templates, output)
    values = study_values(settings)
    for study in studies(settings):
        own = model_values(study) | model_file_values(renderer, study)
        for render in (render_detection, render_controls, render_lens, render_content, render_replies, render_sweep):
            own |= render(renderer, settings, study)
        values |= {f"{study.number}.{name}": value for name, value in own.items()}
    values |= render_post_replies(renderer)
    values |= render_rereading(renderer)
    values |= render_prompts(renderer, stimuli)
    values |= render_provenance(renderer, settings)
    summary = [SUMMARY] if results.expects(SUMMARY) else []
    renderer.render("values", "values", summary, values=values, numbers=[study.number for study in studies(settings)])
    write_sources(output, renderer.sources)
