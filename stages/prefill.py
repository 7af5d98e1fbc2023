"""Have a model's finetune read turn 1 of every prompt, for the model to go on from (the study's model swap)."""

from __future__ import annotations

from common import RESULTS, model_stage, read_stimuli

from introspection.injection.finetune import finetune_prefills, save_prefills
from introspection.settings import ModelSettings, Settings


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/finetune_turn_1.safetensors, which holds nothing for a model without a finetune."""
    prefills = finetune_prefills(model_settings, read_stimuli().detection) if model_settings.contrast else {}
    save_prefills(prefills, RESULTS / model / "finetune_turn_1.safetensors")


if __name__ == "__main__":
    main()
