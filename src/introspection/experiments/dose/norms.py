"""How large a model's residual stream is."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from introspection.engine.run import run_trials
from introspection.injection.vectors import text_trials
from introspection.model.language_model import LanguageModel


def residual_norms(model: LanguageModel, passages: Sequence[str], tokens_per_batch: int | None = None) -> pd.DataFrame:
    """The table of norms at the last token of each passage: layer, mean_norm, norm_std."""
    states = run_trials(model, text_trials(model.tokenizer, passages), {}, tokens_per_batch=tokens_per_batch)
    norms = states.double().norm(dim=-1)  # (passages, layers)
    return pd.DataFrame({"layer": range(norms.shape[1]), "mean_norm": norms.mean(dim=0), "norm_std": norms.std(dim=0)})
