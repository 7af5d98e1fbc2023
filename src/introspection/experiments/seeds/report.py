"""What the lens shows in an organism that was trained anew from other seeds."""

from __future__ import annotations

from introspection import names
from introspection.experiments.lens.report import curve_of
from introspection.experiments.lens.tables import LENS
from introspection.paper import wording
from introspection.paper.render import Renderer
from introspection.settings import Settings


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """From how many seeds it was trained anew, and in how many of these yes rises and falls with nothing injected."""
    again = settings.organisms.again
    seeds = [seed for seed in again.seeds if renderer.results.expects(f"results/again/{seed}/{LENS.name}")]
    if not seeds:
        return {}
    curves, hills, weak = [], [], []
    for seed in seeds:
        lens = renderer.results.read(LENS, "again", str(seed))
        if curve := curve_of(lens, names.of_kind("concept", lens["vector"]), renderer.prompts.main):
            curves.append(curve)
            hills += [curve] if curve.has_hill else []
        if curve := curve_of(lens, names.of_kind("concept", lens["vector"]), names.WEAK):
            weak.append(wording.percent(curve.last))
    shown = [
        f"{wording.percent(curve.base_peak)} after layer {curve.base_peak_layer} "
        f"({wording.percent(curve.last_base)} at the end)"
        for curve in curves
    ]
    among = f"in {wording.how_many(len(hills))} of {wording.count(len(curves))}"
    return {
        "seeds.organism": again.organism,
        "seeds.many": f"{wording.count(len(curves))} other seed{'s' if len(curves) > 1 else ''}",
        "seeds.hill": among if len(curves) > 1 else ("again" if hills else "no longer"),
        "seeds.shown": wording.listing(shown),
        "seeds.weak": wording.listing(weak),
        "seeds.injected": wording.listing([wording.percent(curve.last) for curve in curves]),
    }
