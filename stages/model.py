"""Say what exactly a model is: source, commit or checksums, shape. The stages that load it depend on this."""

from __future__ import annotations

from common import RESULTS, model_stage, write_json

from introspection.model.loading import identity
from introspection.settings import ModelSettings, Settings


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/model.json."""
    model_settings = settings.models[model]  # not the commit found before
    contrast = identity(model_settings.finetune()) if model_settings.contrast else None
    write_json(identity(model_settings) | {"contrast": contrast}, RESULTS / model / "model.json")


if __name__ == "__main__":
    main()
