"""Say what exactly a model is: source, commit or checksums, shape. The stages that load it depend on this."""

from __future__ import annotations

import click
from common import model_of, stage, write_results

from introspection.files import RESULTS
from introspection.model.loading import finetune_identity, identity
from introspection.settings import Settings


@stage
@click.argument("model")
def main(settings: Settings, model: str) -> None:
    """Write results/MODEL/model.json."""
    own = model_of(settings, model)
    contrast = finetune_identity(own) if own.contrast else None
    write_results({"model.json": identity(own) | {"contrast": contrast}}, RESULTS / model)


if __name__ == "__main__":
    main()
