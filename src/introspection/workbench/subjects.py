"""The model that is tried: a key of `params.yaml`, or a folder, hub id or GGUF file of one's own."""

from __future__ import annotations

from pathlib import Path

from introspection.experiments.subject import Subject
from introspection.files import RESULTS
from introspection.injection.filler import FilledStimuli
from introspection.model.language_model import LanguageModel
from introspection.model.loading import load_config, load_tokenizer
from introspection.model.placement import without_weights
from introspection.settings import ModelSettings, load_settings
from introspection.stimuli.prompts import Stimuli
from introspection.workbench.request import RequestError

PARAMS, PROMPTS = Path("params.yaml"), Path("data/prompts")


def open_model(model: str) -> Subject:
    """A model of the checkout that this runs in, without weights yet; `.loaded()` gives it them.

    model: a key of `models` in params.yaml, or else a source: a folder, a GGUF file, or a hub id, which has a slash.
    A source is read in float32 and has no layers and no strength of its own: the request must give both.
    Raises RequestError for a name that is neither, and whatever loading does.
    """
    settings = load_settings(PARAMS)
    if model in settings.models:
        key, chosen = model, settings.models[model]
    elif "/" in model or Path(model).exists():
        key, chosen = model.replace("/", "--"), _of_source(model)
    else:
        raise RequestError(
            f"model {model!r} is no key of models in {PARAMS}; give {', '.join(settings.models)}, or a folder or hub id"
        )
    tokenizer = load_tokenizer(chosen)
    stimuli = FilledStimuli.planned(Stimuli(PROMPTS), tokenizer, chosen.filler)
    shape = LanguageModel(without_weights(load_config(chosen)), tokenizer)
    return Subject(key, settings, chosen, stimuli, RESULTS / key, shape)


def _of_source(source: str) -> ModelSettings:
    layers = (1, 1)  # any that every model has
    return ModelSettings(source=source, dtype="float32", layers=layers, strength="calibrated", filler="original")
