"""What the residual stream would say at every depth, were it the last: some tokens' probabilities in both arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from introspection.injection.cells import Readings
from introspection.model.language_model import LanguageModel

_BYTES_AT_ONCE = 2**28  # of logits over the whole vocabulary that are in memory together


def token_probabilities(model: LanguageModel, states: Tensor, tokens: Sequence[int]) -> Tensor:
    """The probabilities of some tokens at states of the residual stream, (..., hidden) to (..., tokens).

    The final norm is applied once, whatever the layer; float32 throughout.
    """
    flat = states.reshape(-1, states.shape[-1])
    rows = max(1, _BYTES_AT_ONCE // (4 * int(model.text_config.vocab_size)))
    found = [torch.softmax(model.logits(part), dim=-1)[:, list(tokens)].cpu() for part in flat.split(rows)]
    return torch.cat(found).reshape(*states.shape[:-1], len(tokens))


def both_arms(model: LanguageModel, readings: Readings, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The probabilities of some tokens without and with the injection, each (cells, layers, tokens)."""
    base = token_probabilities(model, readings.base, tokens)[readings.conversations]
    return base, token_probabilities(model, readings.injected, tokens)


def by_layer(keys: pd.DataFrame, values: Mapping[str, Tensor]) -> pd.DataFrame:
    """A row for every row of `keys` and every layer; each of `values` is (rows, layers)."""
    layers = next(iter(values.values())).shape[1]
    table = keys.loc[keys.index.repeat(layers)].reset_index(drop=True)
    table["layer"] = list(range(layers)) * len(keys)
    return table.assign(**{name: value.flatten().numpy() for name, value in values.items()})
