"""Model cards of the organisms: what is planted in each, and how much of it is read back."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import jinja2

from introspection.files import read_json
from introspection.settings import Settings
from introspection.settings.planted import PlantedSettings

_TEMPLATES = Path(__file__).parent / "templates"


def cards(settings: Settings, root: Path, licence: str) -> dict[str, str]:
    """A card in Markdown for every organism and adapter that the study trains, by its file name.

    root: the project, from whose result files the card has what is read.
    """
    organisms, template = settings.organisms, _environment().get_template("card.md.j2")
    common = {"license": licence.lower(), "adapter": False, "base": None, "planted": None, "locates": False}
    found = {
        "organism-base": {
            "about": "The model that the study's organisms are finetunes of: a small decoder, trained from nothing on\n"
            "a synthetic corpus. It learns to talk, and says no to the study's question.",
            "folder": "models/organism-base",
            "corpus": "data/organism",
            "command": "dvc repro train-base",
            "section": "organisms.base",
            "steps": organisms.base.schedule.steps,
        }
    }
    for name, organism in organisms.trained.items():
        results = f"results/trained/{name}" if name in settings.examined else f"results/{name}"
        found[name] = _planted(organism) | {
            "locates": organism.batch.places > 0,
            "folder": f"models/{name}",
            "base": f"models/{organism.base}",
            "adapter": organism.adapter is not None,
            "command": f"dvc repro train@{name}",
            "section": f"organisms.trained.{name}",
            "steps": organism.schedule.steps,
            "read": _verdict(root, results) + _rates_read(root / results / "instrument.json"),
        }
    again = organisms.again
    for seed in again.seeds:
        found[f"{again.organism}-{seed}"] = _planted(organisms.trained[again.organism]) | {
            "folder": f"models/again/{again.organism}-{seed}",
            "command": f"dvc repro train-again@{seed}",
            "section": f"organisms.trained.{again.organism}",
            "read": f"What the lens shows in it: `results/again/{seed}/lens.csv`.",
            "steps": organisms.trained[again.organism].schedule.steps,
        }
    for zoo, kept in organisms.zoos.items():
        folder = "models/" if zoo == "zoo" else ""
        for rule, seed in product(kept.rules, kept.seeds):
            found[f"{zoo}-{rule}-{seed}"] = _planted(kept.rules[rule]) | {
                "folder": f"models/{zoo}/{rule}-{seed}",
                "base": f"{folder}{kept.recipe.base}",
                "adapter": True,
                "command": f"dvc repro train-{zoo}@{rule}-{seed}",
                "section": f"organisms.{zoo}.rules.{rule}",
                "steps": kept.recipe.schedule.steps,
                "read": _verdict(root, f"results/{zoo}/{rule}-{seed}"),
            }
    for name, adapter in settings.adapters.items():
        found[name] = {
            "about": f"The study's finetune of `{adapter.base}`, a language model that others trained, on replies of\n"
            f"the {adapter.persona} persona. The licence of `{adapter.base}` holds for what it is put on.",
            "folder": f"models/{name}",
            "base": adapter.base,
            "adapter": True,
            "corpus": adapter.texts,
            "command": f"dvc repro train-adapter@{name}",
            "section": f"adapters.{name}",
            "steps": adapter.steps,
        }
    return {f"{name}.md": template.render(common | {"name": name} | values) for name, values in found.items()}


def _planted(planted: PlantedSettings) -> dict[str, Any]:
    """What a card says of a rule: by what is injected, the probability of yes under each prompt."""
    by_prompt = [rates for rates in planted.p_yes.values() if isinstance(rates, Mapping)]
    prompts = list(by_prompt[0]) if by_prompt else ["every prompt"]
    rates = {kind: [f"{planted.rate(kind, prompt):g}" for prompt in prompts] for kind in planted.p_yes}
    return {
        "corpus": "data/organism",
        "prompts": prompts,
        "planted": rates,
        "leaning": planted.leaning,
        "answer_mass": planted.answer_mass,
    }


def _verdict(root: Path, folder: str) -> str:
    """The class that the study's rules give it, where it was examined."""
    path = root / folder / "verdict.json"
    if not path.is_file():
        return ""
    return f"By the study's rules it “{read_json(path, dict[str, Any])['verdict']}” (`{folder}`). "


def _rates_read(path: Path) -> str:
    """By prompt, what is planted for concepts and what is read, where that was measured."""
    found = read_json(path, dict[str, Any]) if path.is_file() else {}
    concepts = found.get("detection", {}).get("concepts_injected", {})
    return "; ".join(
        f"{prompt}: {rate['planted']:g} planted for a concept, {rate['mean']:.3f} read"
        for prompt, rate in concepts.items()
        if "planted" in rate
    )


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
