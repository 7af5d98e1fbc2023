"""What the lens shows in an organism that was trained anew from other seeds."""

from __future__ import annotations

from introspection import names
from introspection.experiments.lens.report import curve_of
from introspection.experiments.lens.tables import LENS
from introspection.paper import wording
from introspection.paper.render import Renderer
from introspection.settings import Settings

ALIKE = 0.1
"""How much less probable yes may be under a part of a strength for the part to do what all of it does."""


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """From how many seeds it was trained anew, and in how many of these yes rises and falls with nothing injected."""
    again = settings.organisms.again
    seeds = [seed for seed in again.seeds if renderer.results.expects(f"results/again/{seed}/{LENS.name}")]
    if not seeds:
        return {}
    curves, weak, hills, thresholds = [], [], 0, 0
    for seed in seeds:
        lens = renderer.results.read(LENS, "again", str(seed))
        concepts = names.of_kind("concept", lens["vector"])
        full, part = curve_of(lens, concepts, renderer.prompts.main), curve_of(lens, concepts, names.WEAK)
        if full and part:
            curves.append(full)
            hills += full.has_hill
            weak.append(wording.percent(part.last))
            thresholds += part.last >= full.last - ALIKE
    shown = [
        f"{wording.percent(curve.base_peak)} after layer {curve.base_peak_layer} "
        f"({wording.percent(curve.last_base)} at the end)"
        for curve in curves
    ]

    def among(shown: int) -> str:
        if len(curves) > 1:
            return f"in {wording.how_many(shown)} of {wording.count(len(curves))}"
        return "again" if shown else "no longer"

    return {
        "seeds.organism": again.organism,
        "seeds.many": f"{wording.count(len(curves))} other seed{'s' if len(curves) > 1 else ''}",
        "seeds.hill": among(hills),
        "seeds.threshold": among(thresholds),
        "seeds.shown": wording.listing(shown),
        "seeds.weak": wording.listing(weak),
        "seeds.injected": wording.listing([wording.percent(curve.last) for curve in curves]),
    }
