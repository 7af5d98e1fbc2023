"""Ask an organism on a real model on the way of its training: detection, controls, where and which."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd
from common import reading, stage

from introspection.experiments.curve.state import asked_prompts, state_rows
from introspection.experiments.curve.tables import CURVE
from introspection.experiments.zoo.opened import open_organism
from introspection.files import PROMPTS, RESULTS, STATES, SUFFIXES, remove, state_name
from introspection.settings import Settings
from introspection.sources.datasets import read_suffixes
from introspection.stimuli.prompts import Stimuli
from introspection.tables import write_outputs


@stage
@click.argument("rule")
@click.argument("seed", type=int)
def main(settings: Settings, rule: str, seed: int) -> None:
    """Write results/curves/RULE-SEED."""
    asked_prompts(settings.curve, Stimuli(PROMPTS))  # one that is not there shows before weights are read
    grown, name = settings.organisms.grown, f"{rule}-{seed}"
    steps = grown.recipe.schedule.steps
    states = {0: Path("data/raw") / grown.recipe.base}
    states |= {
        step: STATES / name / state_name(step) for step in range(settings.curve.every, steps, settings.curve.every)
    }
    states |= {steps: Path("models/grown") / name}
    work, suffixes = Path("build/curves") / name, read_suffixes(SUFFIXES)
    remove(work)
    rows = []
    with reading(settings, "curve", name, *states.values()):
        for step, source in states.items():
            subject = open_organism(settings, "grown", f"curve-{name}", source, PROMPTS, suffixes, work / str(step))
            rows.append(state_rows(subject, grown.rules[rule]).assign(step=step))
        write_outputs({CURVE.name: CURVE.of(pd.concat(rows, ignore_index=True))}, RESULTS / "curves" / name)


if __name__ == "__main__":
    main()
