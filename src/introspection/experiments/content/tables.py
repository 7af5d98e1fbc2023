"""The result files of the content reports."""

from introspection.tables import LAYER, PROMPT, VECTOR, Column, Table, nats, probability

_BASE = probability("p_base", "probability of the token with nothing injected")
_INJECTED = probability("p_injected", "probability of the token with the injection")

CONTENT = Table(
    "content.csv",
    "The probability of each concept's first token, read from the residual stream at every layer.",
    ("vector", "prompt", "token", "layer"),
    (VECTOR, PROMPT, Column("token", "text", "the first token of a concept's name"), LAYER, _BASE, _INJECTED),
    full=(("vector",), ("prompt",), ("token",), ("layer",)),
)

BOOSTED = Table(
    "boosted.csv",
    "The tokens whose probability an injection increases most.",
    ("vector", "prompt", "rank"),
    (
        VECTOR,
        PROMPT,
        Column("rank", "integer", "1 for the token that gains most probability", 1),
        Column("token", "text", "the token's text, spaces included"),
        _BASE,
        _INJECTED,
        nats("log_odds_shift", "shift of the token's log-odds"),
    ),
)
