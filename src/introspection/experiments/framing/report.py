"""Framing in the report: what each frame does to the answer with nothing injected, and to what an injection adds."""

from __future__ import annotations

import pandas as pd

from introspection import names
from introspection.experiments.framing.tables import FRAMING
from introspection.paper import wording
from introspection.paper.findings import Finding
from introspection.paper.models import ReportedModel
from introspection.paper.render import Renderer
from introspection.paper.results import Results
from introspection.settings import Settings


def findings(results: Results, settings: Settings, model: ReportedModel) -> list[Finding]:
    """For each support, by frame: yes with nothing injected, and the residual under concepts and random directions."""
    path = model.path(FRAMING.name)
    if not results.expects(path):
        return []
    means = frame_means(results.read(FRAMING, model.key))
    return [
        Finding(
            test="Is it the framing?",
            measured=f"turn 1 {_listed(rows.index)}, with {support}: residual shift in nats",
            rule="",
            number=", ".join(map(wording.nats, rows["concept"])),
            interval=f"random {', '.join(map(wording.nats, rows['random']))}" if rows["random"].notna().all() else "",
            source=path,
        )
        for support, rows in means.groupby(level="support", sort=False)
        for rows in [rows.droplevel("support")]
    ]


def tables(renderer: Renderer, settings: Settings, model: ReportedModel) -> dict[str, str]:
    """What the prose says of a model: yes with nothing injected by frame, and the lowest and highest residual."""
    path = model.path(FRAMING.name)
    if not renderer.results.expects(path):
        return {}
    table = renderer.results.read(FRAMING, model.key)
    means = frame_means(table).droplevel("support").groupby(level="frame", sort=False).mean()
    residual = means["concept"].sort_values()
    least, most = (f"{wording.nats(residual.iloc[end])} ({residual.index[end]})" for end in (0, -1))
    return {
        "framing.base": wording.listing(
            [f"{wording.percent(value)} ({name})" for name, value in means["base"].items()]
        ),
        "framing.least": least,
        "framing.most": most,
    }


def values_of_all(renderer: Renderer, settings: Settings) -> dict[str, str]:
    """How many frames there are."""
    frames = renderer.stimuli.framing().frames if any(_ran(renderer, key) for key in settings.study.models) else {}
    return {"framing.frames": wording.count(len(frames))} if frames else {}


def frame_means(table: pd.DataFrame) -> pd.DataFrame:
    """By support and frame: `base`, p(yes) with nothing injected, and mean residuals of concepts and of random ones."""
    is_random = table["vector"].map(names.kind_of) == "random"
    by = ["support", "frame"]
    groups = {
        "base": table.groupby(by, sort=False)["p_yes_base"].first(),
        "concept": table[~is_random].groupby(by, sort=False)["residual"].mean(),
        "random": table[is_random].groupby(by, sort=False)["residual"].mean(),
    }
    return pd.DataFrame(groups)


def _ran(renderer: Renderer, key: str) -> bool:
    return renderer.results.expects(f"results/{key}/{FRAMING.name}")


def _listed(frames: pd.Index) -> str:
    *before, last = map(str, frames)
    return f"{', '.join(before)} or {last}"
