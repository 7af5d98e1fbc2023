"""An organism trained anew from another seed, read by the lens as the first one is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from introspection.engine.trial import Injection
from introspection.experiments.lens.measure import Weak, yes_lens
from introspection.injection.vectors import concept_vectors, random_vectors
from introspection.model.loading import load_model
from introspection.settings import Settings, SettingsError
from introspection.stimuli.prompts import Stimuli


def lens_of_seed(settings: Settings, source: Path, stimuli: Stimuli, suffixes: Sequence[str]) -> pd.DataFrame:
    """The logit lens on the organism in the folder `source`, in the columns of `lens.csv`, with vectors of its own.

    It is injected into as the first one is, by `models` in params.yaml. Raises SettingsError where that has no such
    model, or no number for its strength.
    """
    key, study = settings.organisms.again.organism, settings.study
    first = settings.models.get(key)
    if first is None or not isinstance(first.strength, int | float):
        raise SettingsError(f"params.yaml: organisms.again.organism: models.{key} must be there, its strength a number")
    model = load_model(first.model_copy(update={"source": source.as_posix(), "contrast": None}))
    trained = concept_vectors(model, stimuli, study.concepts, suffixes, sign=study.sign)
    drawn = random_vectors(model, study.random_directions, study.seed)
    directions = {name: vector.directions for name, vector in (*trained, *drawn)}
    injections = [Injection(name, float(first.strength), *first.layers) for name in directions]
    weak = Weak(settings.lens.weak_prompt, settings.lens.weak_fraction)
    return yes_lens(model, stimuli, injections, directions, weak=weak, progress="lens")
