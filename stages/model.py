"""Say what exactly a model is: source, commit or checksums, shape. The stages that load it depend on this."""

from __future__ import annotations

import click
from common import CHECKSUMS, model_of, stage

from introspection.files import RESULTS
from introspection.model.loading import finetune_identity, identity
from introspection.settings import Settings
from introspection.sources.unchanged import kept_checksum
from introspection.tables import write_outputs


@stage
@click.argument("model")
def main(settings: Settings, model: str) -> None:
    """Write results/MODEL/model.json."""
    model_settings, checksum = model_of(settings, model), kept_checksum(CHECKSUMS, anew=True)
    contrast = finetune_identity(model_settings, checksum) if model_settings.contrast else None
    write_outputs({"model.json": identity(model_settings, checksum) | {"contrast": contrast}}, RESULTS / model)


if __name__ == "__main__":
    main()
