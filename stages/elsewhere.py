"""Take over the results of a model that was run elsewhere, once they are checked."""

from __future__ import annotations

from pathlib import Path

import click
from common import PARAMS, stage

from introspection.elsewhere import take_over
from introspection.files import PROMPTS, RESULTS
from introspection.settings import Settings, SettingsError
from introspection.stimuli.prompts import Stimuli


@stage
@click.argument("key")
def main(settings: Settings, key: str) -> None:
    """Write the folder results/KEY from the one that params.yaml names for KEY under `elsewhere`."""
    if key not in settings.elsewhere:
        raise SettingsError(f"{PARAMS}: elsewhere has no key {key!r}; it has {', '.join(settings.elsewhere) or 'none'}")
    place = settings.models[key].source
    take_over(Path(settings.elsewhere[key]), RESULTS / key, place, Stimuli(PROMPTS).detection)


if __name__ == "__main__":
    main()
