"""Which one in the report: what the choices from a list say of the injection, and where its own word stands."""

from __future__ import annotations

from introspection.experiments.which.published import PATH, PUBLISHED
from introspection.experiments.which.tables import LAST, NAMING_SUMMARY, SUMMARY
from introspection.paper import wording
from introspection.paper.findings import Finding, Number
from introspection.paper.models import ReportedModel
from introspection.paper.render import Renderer
from introspection.paper.results import Results
from introspection.settings import Settings

SHIFT = "shift"  # the score of naming that does not hang on how likely a word is anyway


def findings(results: Results, settings: Settings, model: ReportedModel) -> list[Finding]:
    """The information in the way of asking that has most of it, and the rank of the injected concept's own word."""
    path, naming_path = model.path(SUMMARY.name), model.path(NAMING_SUMMARY.name)
    if not results.expects(path, naming_path):
        return []
    summary, naming = results.read(SUMMARY, model.key), results.read(NAMING_SUMMARY, model.key)
    bits = results.table(PUBLISHED, PATH)["bits"]
    found = []
    own = summary[summary["reading"] == LAST]
    if len(own):
        most = own.iloc[int(own["bits_corrected"].to_numpy().argmax())]
        found.append(
            Finding(
                test="Does it know which?",
                measured="bits about it in the choice from a list, most of all ways to ask, less the null’s mean",
                rule=f"published for another model: {bits.min():g} to {bits.max():g}",
                number=f"{most['bits_corrected']:.2f}".replace("-", "−"),
                interval=f"p = {most['p_value']:.3f}, right {wording.share(most['accuracy'])}",
                numbers=(Number("", float(most["bits_corrected"]), chance=0.0),),
                source=path,
            )
        )
    for row in naming[naming["score"] == SHIFT].to_dict("records"):
        found.append(
            Finding(
                test="Does it name it?",
                measured="mean rank of the concept’s word by its shift, of the population’s words",
                rule=f"chance {row['chance']:g} of {row['words']}",
                number=f"{row['mean_rank']:.1f}",
                interval=f"[{row['rank_low']:.1f}, {row['rank_high']:.1f}], first {wording.share(row['first'])}",
                numbers=(Number("", *(float(row[name]) for name in ("mean_rank", "rank_low", "rank_high", "chance"))),),
                source=naming_path,
            )
        )
    return found


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """How many there are to choose from, and how the choices are tested."""
    rule = settings.which
    return {
        "which.options": wording.count(len(rule.concepts) + 1),
        "which.permutations": str(rule.permutations),
        "which.resamples": str(rule.resamples),
    }
