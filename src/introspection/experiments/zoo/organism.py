"""An organism, examined as a model is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from introspection.experiments.examination import examine
from introspection.experiments.zoo.opened import open_organism
from introspection.experiments.zoo.tables import EXAMINED
from introspection.settings import Settings
from introspection.settings.organisms import Family
from introspection.tables import Outputs


def examine_organism(
    settings: Settings, family: Family, key: str, source: Path, prompts: Path, suffixes: Sequence[str], folder: Path
) -> Outputs:
    """The verdict on the organism in the folder `source`, and what it rests on (`EXAMINED`), by file name.

    All else as for `open_organism`, which also says what is raised.
    """
    outputs = examine(open_organism(settings, family, key, source, prompts, suffixes, folder), settings.zoo)
    return {name: outputs[name] for name in EXAMINED}
