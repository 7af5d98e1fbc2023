"""The result file of the top-of-mind replies."""

from introspection.tables import FIRST_LAYER, LAST_LAYER, STRENGTH, Column, Table

SAMPLES = Table(
    "samples.csv",
    "What the model says it is thinking about, steered while it reads and replies.",
    ("intervention",),
    (
        Column("intervention", "text", "`none`, a vector's name, `anti_persona`, or `finetune`"),
        STRENGTH,
        FIRST_LAYER,
        LAST_LAYER,
        Column("text", "text", "the reply, its given beginning included"),
    ),
)
