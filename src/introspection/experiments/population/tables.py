"""The result files of the population."""

from introspection.tables import FIRST_LAYER, LAST_LAYER, PROMPT, READOUT, Column, Table, probability

NORM, EFFECT = MATCHINGS = ("norm", "effect")

KIND = Column("kind", "text", "what kind of direction that is")
MATCHING = Column(
    "matching", "text", "`norm`: at the model's own strength; `effect`: at the strength of equal divergence"
)

POPULATION = Table(
    "population.csv",
    "The answer to the study's question under many concepts and many directions that stand for none.",
    ("vector", "matching", "prompt"),
    (
        Column("vector", "text", "the direction's name"),
        KIND,
        MATCHING,
        PROMPT,
        Column("strength", "number", "what the unit direction is multiplied with", 0),
        FIRST_LAYER,
        LAST_LAYER,
        Column("cosine", "number", "with the mean of the (other) concepts' vectors, mean over these blocks", -1, 1),
        Column(
            "kl", "number", "KL(steered || unsteered) of the next token on neutral text, in nats, at that strength", 0
        ),
        Column("reached", "truth", "whether the divergence is as large as it was to be; always at equal norm"),
        *(column for column in READOUT if not column.name.endswith("_bf16")),
    ),
)

SUMMARY = Table(
    "population_summary.csv",
    "The population by kind: shifts of the answer, and how well they tell concepts from directions of that kind.",
    ("prompt", "matching", "kind"),
    (
        PROMPT,
        MATCHING,
        KIND,
        Column("directions", "integer", "how many directions of the kind have the effect they were to have", 0),
        Column("unreached", "integer", "how many have not, and are left out of this row", 0),
        *(
            Column(name, "number", f"median {meaning} of these directions", low, may_be_empty=True)
            for name, meaning, low in (
                ("strength", "strength", 0),
                ("kl", "divergence on neutral text, in nats,", 0),
                ("cosine", "cosine with the mean of the concepts' vectors", -1),
            )
        ),
        probability("p_yes_base", "probability of yes with nothing injected"),
        Column("p_yes_injected", "number", "median probability of yes with the injection", 0, 1, may_be_empty=True),
        Column("shift", "number", "median shift of logit(yes) - logit(no), in nats", may_be_empty=True),
        Column("auc", "number", "the chance that a concept's shift is above one of this kind", 0, 1, may_be_empty=True),
        *(
            Column(f"auc_{end}", "number", f"the {end} end of its bootstrap interval", 0, 1, may_be_empty=True)
            for end in ("low", "high")
        ),
        Column("p_value", "number", "two-sided, of a permutation of the directions' kinds", 0, 1, may_be_empty=True),
    ),
)
