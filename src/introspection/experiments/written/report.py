"""State or text in the report: what the words do to the answer, what the injection does, and both together."""

from __future__ import annotations

from introspection.experiments.written.statistics import effects
from introspection.experiments.written.tables import WRITTEN
from introspection.paper import wording
from introspection.paper.findings import Finding, Number
from introspection.paper.models import ReportedModel
from introspection.paper.results import Results
from introspection.settings import Settings


def findings(results: Results, settings: Settings, model: ReportedModel) -> list[Finding]:
    """The shift by the written word, by the injection, and by both: means over concepts and sentences, in nats."""
    path = model.path(WRITTEN.name)
    if not results.expects(path):
        return []
    found = effects(results.read(WRITTEN, model.key))
    mean = found[found["prompt"] == found["prompt"].iloc[0]].groupby("arm")["shift"].mean()
    arms = [arm for arm in ("text", "state", "both") if arm in mean]
    return [
        Finding(
            test="State or text?",
            measured="shift of yes in nats: the word written, the concept injected, both",
            rule="",
            number=", ".join(wording.nats(mean[arm]) for arm in arms),
            numbers=tuple(
                Number(f"{arm} alone" if arm != "both" else arm, float(mean[arm]), chance=0.0) for arm in arms
            ),
            source=path,
        )
    ]
