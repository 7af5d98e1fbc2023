"""The layer sweep: the yes answer under every range of blocks, for the concepts and prompts of params.yaml."""

from __future__ import annotations

import shutil
from pathlib import Path

from common import RESULTS, model_stage, read_stimuli, write_csv
from injected import read_directions

import introspection
from introspection.experiments.sweep.measure import Guide, sweep_layers
from introspection.model.loading import load_model
from introspection.settings import ModelSettings, Settings

WORK = Path(".work/sweep")  # answers of finished batches, until the sweep is whole


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/sweep.csv."""
    stimuli, rule = read_stimuli(), settings.sweep
    concepts = list(rule.concepts)
    guide = Guide(rule.choose_concept, rule.choose_prompt, rule.earliest_start)
    table = sweep_layers(
        load_model(model_settings),
        stimuli,
        {prompt: stimuli.detection[prompt] for prompt in rule.prompts},
        dict.fromkeys(concepts, model_settings.strength),
        read_directions(model, concepts),
        guide=guide if rule.mode == "coarse_to_fine" else None,
        tokens_per_batch=settings.engine.tokens_per_batch,
        work=WORK / model,
        identity=_identity(model),
        progress="sweep",
    )
    write_csv(table, RESULTS / model / "sweep.csv")
    shutil.rmtree(WORK / model, ignore_errors=True)


def _identity(model: str) -> str:
    """Which model this is, and which code."""
    package = Path(introspection.__file__).parent
    code = sorted([*package.glob("*.py"), *package.glob("engine/*.py")])
    return "\n".join(path.read_text(encoding="utf-8") for path in (RESULTS / model / "model.json", *code))


if __name__ == "__main__":
    main()
