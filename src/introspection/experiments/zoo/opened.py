"""An organism, or what it grows from, as every experiment is given a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from introspection.experiments.subject import Subject, open_subject
from introspection.files import write_json
from introspection.injection.dose import QUESTIONS, Dose
from introspection.injection.filler import FILLER, FilledStimuli
from introspection.settings import Settings
from introspection.settings.organisms import Family


def open_organism(
    settings: Settings, family: Family, key: str, source: Path, prompts: Path, suffixes: Sequence[str], folder: Path
) -> Subject:
    """The organism in the folder `source`, or what it grows from, with its weights, at its own dose.

    family: whose injections are its own. key: a name for its files. prompts: the folder of prompts. folder: where all
    results are written on the way.
    Raises ValueError where the strength of these injections is none of its own.
    """
    model_settings = settings.member(family, source.as_posix())
    strength = model_settings.strength
    if not isinstance(strength, int | float):
        raise ValueError(f"{key}: the strength of an organism is a number, not {strength!r}")
    write_json(folder / FILLER, {})  # it reads the post's filler
    write_json(folder / QUESTIONS, asdict(Dose(*model_settings.layers, strength, None)))
    stimuli = FilledStimuli.of_model(prompts, folder)
    return replace(open_subject(settings, key, model_settings, stimuli, folder).loaded(), given_suffixes=suffixes)
