"""What is added after every block to rows that are injected throughout, or at positions of a pass of one's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from introspection.engine.trial import Directions, Injection
from introspection.model.language_model import LanguageModel


def additions(
    model: LanguageModel, injections: Sequence[Injection | None], directions: Directions
) -> dict[int, Tensor]:
    """By block after which anything is added: what is added to each row, strength included, (rows, hidden).

    injections: one for each row, None for a row to which nothing is added. Their positions are the caller's.
    """
    found = {}
    for block in range(len(model.blocks)):
        if any(injection and injection.at(block) for injection in injections):
            found[block] = torch.zeros(len(injections), model.hidden_size)
            for row, injection in enumerate(injections):
                if injection and injection.at(block):
                    found[block][row] = injection.strength * torch.as_tensor(directions[injection.vector][block])
    return found
