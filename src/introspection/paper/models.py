"""The models of the paper, and the values of the prose that their settings and their own files give."""

from __future__ import annotations

from dataclasses import dataclass

from introspection.injection.dose import QUESTIONS, Dose
from introspection.paper import wording
from introspection.paper.results import Results
from introspection.settings import ModelSettings, Settings


@dataclass(frozen=True)
class ReportedModel:
    """A model that the paper reports on.

    number: its place in the paper, from 1. organism: its key among the organisms that the repository trains, or None.
    """

    number: int
    key: str
    settings: ModelSettings
    organism: str | None

    def path(self, name: str) -> str:
        """One of the model's result files."""
        return f"results/{self.key}/{name}"

    def dose(self, results: Results) -> Dose:
        """Where and how strongly the model was injected, for questions."""
        return results.json(self.path(QUESTIONS), Dose)


@dataclass(frozen=True)
class ModelFile:
    """What `model.json` says of the model's size."""

    blocks: int
    parameters: int


def reported_models(settings: Settings) -> list[ReportedModel]:
    """The models of the paper, in the order of `study.models` and of `elsewhere`."""
    models = []
    for number, key in enumerate(settings.reported, start=1):
        models.append(ReportedModel(number, key, settings.models[key], settings.organism_of(key)))
    return models


def compared_models(settings: Settings) -> dict[str, list[ReportedModel]]:
    """What stands side by side, by name: the models of the paper, and the organisms that are looked at closely.

    Such an organism has its results in more folders than one, a model for each.
    """
    compared = {model.key: [model] for model in reported_models(settings)}
    for name in settings.closely_grown:
        organism = settings.member("grown", f"models/grown/{name}")
        compared[f"grown/{name}"] = _of_folders(("grown", "beyond"), name, organism)
    for name in settings.examined:
        compared[name] = _of_folders(("trained", "beyond"), name, settings.member("trained", f"models/{name}"))
    return compared


def _of_folders(folders: tuple[str, ...], name: str, settings: ModelSettings) -> list[ReportedModel]:
    return [ReportedModel(0, f"{folder}/{name}", settings, None) for folder in folders]


def model_values(results: Results, model: ReportedModel) -> dict[str, str]:
    """A model's name, size and injections."""
    size = results.json(model.path("model.json"), ModelFile)
    questions = model.dose(results)
    values: dict[str, str] = {
        "name": model.key,
        "layers": wording.layers(*questions.layers),
        "strength": wording.number(questions.strength),
        "blocks": str(size.blocks),
        "parameters": f"{size.parameters:,}".replace(",", " "),
    }
    if model.settings.quantization:
        values["quantization"] = {"8bit": "8 bits", "4bit": "4 bits"}[model.settings.quantization]
    if model.organism:
        values["organism"] = model.organism
    if model.settings.contrast and questions.persona_strength is not None:
        values["contrast"] = model.settings.contrast.place
        values["contrast.strength"] = wording.number(questions.persona_strength)
    return values
