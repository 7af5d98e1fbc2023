"""Have a model's finetune read turn 1 of every prompt, for the model to go on from (the study's model swap)."""

from __future__ import annotations

import click
from common import PROMPTS, pinned, stage

from introspection.files import PREFILLS, RESULTS
from introspection.injection.filler import FilledStimuli
from introspection.injection.finetune import finetune_prefills
from introspection.injection.prefills import save_prefills
from introspection.settings import Settings


@stage
@click.argument("model")
def main(settings: Settings, model: str) -> None:
    """Write build/finetune_turn_1/MODEL.safetensors, which holds nothing for a model without a finetune."""
    own = pinned(settings, model)
    stimuli = FilledStimuli.of_model(PROMPTS, RESULTS / model)
    prefills = finetune_prefills(own, stimuli.detection) if own.contrast else {}
    save_prefills(prefills, PREFILLS / f"{model}.safetensors")


if __name__ == "__main__":
    main()
