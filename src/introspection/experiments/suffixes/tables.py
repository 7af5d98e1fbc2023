"""The result files of the suffixes."""

from dataclasses import replace

from introspection.tables import PROMPT, RANGE, READOUT, VECTOR, Column, Table, nats, probability

CONCEPT = VECTOR.named("vector", "the concept")

AUDIT = Table(
    "sign_audit.csv",
    "How well the suffixes agree on the direction of a concept after a block, and on its sign.",
    ("vector", "block"),
    (
        CONCEPT,
        Column("block", "integer", "the decoder block after which the states are taken", 1),
        Column(
            "pairs", "integer", "how many suffixes there are, each a pair of states with the concept and without", 2
        ),
        probability("positive_share", "share of pairs whose difference lies on the direction's positive side"),
        Column("rules_agree", "truth", "whether the majority of pairs and their mean difference want the same sign"),
        probability("explained_share", "share of the centred pairs' variance that lies along the direction"),
        Column("cosine_mean", "number", "cosine of the direction with the mean difference", -1, 1),
        Column("cosine_halves", "number", "cosine between the directions of two random halves of the suffixes", -1, 1),
    ),
    full=(("vector",), ("block",)),
)

ASKED = Table(
    "suffix_detection.csv",
    "The yes/no answer to the study's question under vectors of other suffixes, or with the sign of the other rule.",
    ("vector", "kind", "prompt"),
    (
        CONCEPT,
        Column(
            "kind",
            "text",
            "what the vector is made of: `half_1`, `half_2`, resamples `bootstrap_1` and on, or all suffixes and "
            "the rule for the sign that the study does not follow (`mean_sign` or `majority_sign`)",
        ),
        PROMPT,
        *RANGE,
        *READOUT,
    ),
)

INTERVALS = Table(
    "suffix_intervals.csv",
    "How far the shift of yes hangs on the suffixes: its interval over resamples, and what two halves of them give.",
    ("vector", "prompt"),
    (
        CONCEPT,
        PROMPT,
        *RANGE,
        Column("unit", "text", "what was resampled: `suffixes`"),
        Column("resamples", "integer", "how many bootstrap resamples were injected under this prompt", 0),
        probability("confidence", "of the percentile interval"),
        nats("shift", "shift of the log-odds of yes under the study's own vector"),
        replace(nats("shift_low", "lower end of the interval over resamples"), may_be_empty=True),
        replace(nats("shift_high", "upper end of the interval over resamples"), may_be_empty=True),
        nats("shift_half_1", "shift under the vector of the first half"),
        nats("shift_half_2", "shift under the vector of the second half"),
        nats("halves_difference", "that of the first half less that of the second"),
        nats("shift_other_sign", "shift under the vector of all suffixes with the sign of the other rule"),
    ),
)
