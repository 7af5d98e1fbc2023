"""Have a model's finetune read turn 1 of every prompt, for the model to go on from (the study's model swap)."""

from __future__ import annotations

import click
from common import pinned, stage

from introspection.files import PREFILLS, PROMPTS, RESULTS
from introspection.injection.filler import FilledStimuli
from introspection.injection.finetune import finetune_prefills
from introspection.injection.prefills import save_prefills
from introspection.settings import Settings


@stage
@click.argument("model")
def main(settings: Settings, model: str) -> None:
    """Write build/finetune_turn_1/MODEL.safetensors, which holds nothing for a model without a finetune."""
    model_settings = pinned(settings, model)
    stimuli = FilledStimuli.of_model(PROMPTS, RESULTS / model)
    prefills = finetune_prefills(model_settings, stimuli.detection) if model_settings.contrast else {}
    save_prefills(prefills, PREFILLS / f"{model}.safetensors")


if __name__ == "__main__":
    main()
