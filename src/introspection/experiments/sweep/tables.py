"""The result file of the layer sweep."""

from introspection.tables import PROMPT, RANGE, VECTOR, Table, nats, probability

SWEEP = Table(
    "sweep.csv",
    "The yes answer with the vector injected in every range of blocks, or in those that a search has measured.",
    ("vector", "prompt", "first_layer", "last_layer"),
    (
        VECTOR,
        PROMPT,
        *RANGE,
        probability("p_yes", "probability of yes with the injection"),
        nats("log_odds_yes", "log-odds of yes with the injection"),
    ),
    full=(("vector",), ("prompt",), ("first_layer", "last_layer")),
)
