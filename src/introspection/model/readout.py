"""The next-token distribution read as a yes/no answer: probabilities, log-odds, and the study's bfloat16 rounding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from introspection.model.language_model import LanguageModel

_ROWS_AT_ONCE = 64  # rows of logits over the whole vocabulary that are in memory together


def log_odds(logits: Tensor, token: int) -> Tensor:
    """ln(p / (1 - p)) of one token in nats, (rows, vocabulary) to (rows,).

    Computed from logits as the token's logit less the log-sum-exp of all others, so nothing cancels near 0 or 1.
    """
    others = logits.clone()
    others[..., token] = -torch.inf
    return logits[..., token] - torch.logsumexp(others, dim=-1)


def read_choice(model: LanguageModel, states: Tensor, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The next-token distribution restricted to some tokens, and the probability that all of them have together.

    states: of the residual stream, (..., hidden), to (..., tokens) and (...). Both from float32 logits; the first is a
    softmax over the tokens' own logits, so it is right however little probability they have.
    """
    restricted, mass = [], []
    for rows in states.reshape(-1, states.shape[-1]).split(_ROWS_AT_ONCE):
        logits = model.logits(rows)
        chosen = logits[:, list(tokens)]
        restricted.append(torch.softmax(chosen, dim=-1).cpu())
        share = torch.exp(torch.logsumexp(chosen, dim=-1) - torch.logsumexp(logits, dim=-1))
        mass.append(share.clamp(max=1).cpu())  # a sum may round above
    shape = states.shape[:-1]
    return torch.cat(restricted).reshape(*shape, len(tokens)), torch.cat(mass).reshape(shape)


def log_probabilities(
    model: LanguageModel, final_states: Tensor, answers: Sequence[Sequence[str]]
) -> list[NDArray[np.float64]]:
    """For each row of (rows, hidden), the log-probabilities in nats of that row's answers, in their order.

    Raises ModelError for an answer that is not one token.
    """
    tokens = [[model.token(text) for text in row] for row in answers]
    found: list[NDArray[np.float64]] = []
    for start, states in enumerate(final_states.split(_ROWS_AT_ONCE)):
        rows = torch.log_softmax(model.logits(states), dim=-1).cpu().numpy().astype(np.float64)
        part = tokens[start * _ROWS_AT_ONCE : start * _ROWS_AT_ONCE + len(rows)]
        found += [row[chosen] for row, chosen in zip(rows, part, strict=True)]
    return found


def bfloat16_softmax(logits: Tensor) -> Tensor:
    """The study's own figures: a softmax in bfloat16 over logits in bfloat16, returned as float32."""
    return torch.softmax(logits.to(torch.bfloat16), dim=-1).float()


def read_answers(model: LanguageModel, final_states: Tensor, yes: str, no: str) -> dict[str, Tensor]:
    """Read the yes/no answer from the residual stream after the last block, (rows, hidden) to columns of (rows,).

    p_yes and p_no are probabilities (a float32 softmax over float32 logits), log_odds_yes is in nats,
    p_yes_bf16 and p_no_bf16 round as the study's figures do. answer_mass is p_yes + p_no, and logit_difference the
    logit of yes less that of no, in nats: which of the two, whatever share is left for other tokens. Raises ModelError
    where yes or no is not one token.
    """
    tokens = {"yes": model.token(yes), "no": model.token(no)}
    columns: dict[str, list[Tensor]] = {}
    for rows in final_states.split(_ROWS_AT_ONCE):
        logits = model.logits(rows)
        probabilities, rounded = torch.softmax(logits, dim=-1), bfloat16_softmax(logits)
        found = {f"p_{answer}": probabilities[:, token] for answer, token in tokens.items()}
        found["log_odds_yes"] = log_odds(logits, tokens["yes"])
        found |= {f"p_{answer}_bf16": rounded[:, token] for answer, token in tokens.items()}
        found["answer_mass"] = (found["p_yes"] + found["p_no"]).clamp(max=1)  # a sum may round above
        found["logit_difference"] = logits[:, tokens["yes"]] - logits[:, tokens["no"]]
        for name, values in found.items():
            columns.setdefault(name, []).append(values.cpu())
    return {name: torch.cat(values) for name, values in columns.items()}
