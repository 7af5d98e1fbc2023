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
    bits, options = results.table(PUBLISHED, PATH)["bits"], len(settings.which.concepts) + 1
    found = []
    own = summary[summary["reading"] == LAST]
    if len(own):
        most = own.iloc[int(own["bits_corrected"].to_numpy().argmax())]
        right = f"right {wording.share(most['accuracy'])}, chance {wording.share(1 / options)}"
        found.append(
            Finding(
                test="Does it know which?",
                measured="bits about it in the choice from a list, most of all ways to ask, less the null’s mean",
                rule=f"published for another model: {bits.min():g} to {bits.max():g}",
                number=f"{most['bits_corrected']:.2f}".replace("-", "−"),
                interval=f"p = {most['p_value']:.3f}, {right}",
                numbers=(Number("", float(most["bits_corrected"]), chance=0.0),),
                source=path,
            )
        )
    for row in naming[naming["score"] == SHIFT].to_dict("records"):
        found.append(
            Finding(
                test="Does it name it?",
                measured="mean rank of the concept’s word by its shift, of the population’s words",
                rule="chance: the middle of them",
                number=f"{row['mean_rank']:.1f} of {row['words']}",
                interval=f"[{row['rank_low']:.1f}, {row['rank_high']:.1f}], chance {row['chance']:g}",
                numbers=(Number("", *(float(row[name]) for name in ("mean_rank", "rank_low", "rank_high", "chance"))),),
                source=naming_path,
            )
        )
    return found


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """The most that a model puts on the numbers that it chooses from, and how often its concept's word rises most."""
    results = renderer.results
    if not results.expects(model.path(SUMMARY.name), model.path(NAMING_SUMMARY.name)):
        return {}
    summary, naming = results.read(SUMMARY, model.key), results.read(NAMING_SUMMARY, model.key)
    values: dict[str, str] = {"which.mass": wording.share(summary.loc[summary["reading"] == LAST, "mass"].max())}
    by_shift = naming[naming["score"] == SHIFT]
    if len(by_shift):
        row = by_shift.iloc[0]
        values |= {
            "naming.first": wording.share(row["first"]),
            "naming.first.chance": wording.share(1 / row["words"]),
        }
    return values


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """How many there are to choose from, and how the choices are tested."""
    rule = settings.which
    return {
        "which.options": wording.count(len(rule.concepts) + 1),
        "which.permutations": str(rule.permutations),
        "which.resamples": str(rule.resamples),
    }
