"""What the paper says of its making: the packages that numbers depend on, and the tokens that are read as answers."""

from __future__ import annotations

import platform
from importlib import metadata

from introspection.paper.latex import Latex, token
from introspection.stimuli.prompts import Stimuli

# What results depend on, beyond this repository's own code.
PACKAGES = ("torch", "transformers", "tokenizers", "repeng", "numpy", "pandas", "dvc", "matplotlib")


def answer_values(stimuli: Stimuli) -> dict[str, str]:
    """The tokens that are read as answers."""
    return {
        "yes.variants": Latex(", ".join(token(name) for name in stimuli.yes_variants)),
        "yes.token": token(stimuli.yes),
        "no.token": token(stimuli.no),
    }


def versions() -> list[tuple[str, str]]:
    """The packages that numbers depend on, as installed where the tables are rendered, and Python."""
    return [("python", platform.python_version()), *((name, metadata.version(name)) for name in PACKAGES)]
