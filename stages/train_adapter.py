"""Train one adapter that params.yaml describes, into models/NAME."""

from pathlib import Path

import click
from common import PARAMS, stage, tell_of_committed

from introspection.adapters.persona import load_texts
from introspection.adapters.training import train_adapter
from introspection.settings import Settings, SettingsError


@stage
@click.argument("name")
def main(settings: Settings, name: str) -> None:
    """Train the adapter NAME, a key of adapters in params.yaml; a run that was cut off goes on."""
    if name not in settings.adapters:
        raise SettingsError(f"{PARAMS}: adapters has no key {name!r}; it has {', '.join(settings.adapters)}")
    adapter = settings.adapters[name]
    base, output = Path("data/raw") / adapter.base, Path("models") / name
    tell_of_committed(output)
    train_adapter(name, adapter, load_texts(Path(adapter.texts)), base, output, Path("build/training"))


if __name__ == "__main__":
    main()
