"""The result file of the logit lens."""

from introspection.tables import LAYER, PROMPT, STRENGTH, VECTOR, Column, Table, probability

LENS = Table(
    "lens.csv",
    "The summed probability of the ways to say yes, read from the residual stream at every layer.",
    ("vector", "scenario", "layer"),
    (
        VECTOR,
        Column("scenario", "text", "the prompt, or `weak` for an injection at a fraction of the strength"),
        PROMPT,
        STRENGTH,
        LAYER,
        probability("p_yes_base", "summed probability of the yes variants with nothing injected"),
        probability("p_yes_injected", "summed probability of the yes variants with the injection"),
    ),
)
