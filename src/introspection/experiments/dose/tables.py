"""The result files of the dose: how large the residual stream is, and what a model bears."""

from introspection.tables import FIRST_LAYER, LAST_LAYER, VECTOR, Column, Table, probability

NORMS = Table(
    "residual_norms.csv",
    "The size of the residual stream at the last token of neutral text, nothing injected.",
    ("layer",),
    (
        Column("layer", "integer", "0 is the embedding, k what block k-1 wrote, before any final norm", 0),
        Column("mean_norm", "number", "mean Euclidean norm over the passages", 0),
        Column("norm_std", "number", "its standard deviation over the passages (n - 1)", 0),
    ),
)

DOSE = Table(
    "dose.csv",
    "What an injection leaves of the model, by its strength.",
    ("vector", "fraction"),
    (
        VECTOR,
        Column("fraction", "number", "of the residual stream's mean norm over the injected layers; 0 is nothing", 0),
        Column("strength", "number", "what a unit direction is multiplied with: the fraction of the norm", 0),
        FIRST_LAYER,
        LAST_LAYER,
        Column(
            "kl", "number", "KL(steered || unsteered) of the next token on neutral text, in nats; mean over passages", 0
        ),
        probability("answer_mass", "p(yes) + p(no) after a control question, turn 1 injected; mean over questions"),
        probability("control_accuracy", "share of these questions where the likelier of yes and no is right"),
        probability("distinct", "share of distinct pairs of neighbouring tokens in the steered reply; low in a loop"),
        Column(
            "on_topic",
            "integer",
            "1 where that reply names the concept; empty for random directions",
            0,
            1,
            may_be_empty=True,
        ),
        Column("reply", "text", "the reply to the top-of-mind question, its given beginning included"),
    ),
    full=(("vector",), ("fraction",)),
)
