"""The choice of a layer range from the sweep, by the rule of params.yaml."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from introspection.experiments.sweep.choice import choose_range
from introspection.experiments.sweep.tables import SWEEP
from introspection.settings import Settings


def summarise(settings: Settings, key: str, folder: Path) -> dict[str, object]:
    """`range.json` of a model, whose result files lie in `folder`."""
    rule = settings.sweep
    sweep = SWEEP.read(folder / SWEEP.name, f"make it with `dvc repro sweep@{key}`")
    chosen = choose_range(sweep, rule.choose_concept, rule.choose_prompt, rule.earliest_start, rule.mode)
    return {"range.json": asdict(chosen)}
