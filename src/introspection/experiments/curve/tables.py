"""The result file of the curve over a training."""

from introspection.tables import Column, Table, probability

CURVE = Table(
    "curve.csv",
    "What an organism on a real model answers after so many steps of its training, step 0 being the model without it.",
    ("step", "test", "asked", "injected"),
    (
        Column("step", "integer", "how many steps it was trained for", 0),
        Column(
            "test",
            "text",
            "`detection`: the probability of yes to the study's question; `controls`: balanced accuracy on questions "
            "of known answer; `where`, `which`: the share of trials in which the injected part, or concept, is chosen",
        ),
        Column("asked", "text", "a prompt, `controls`, a task of `where`, or the arm of `which`"),
        Column("injected", "text", "`none`, or a kind of vector"),
        probability("value", "the mean over units"),
        Column("low", "number", "the lower end of its interval; empty where there is one unit", 0, 1, True),
        Column("high", "number", "the upper end of its interval; empty where there is one unit", 0, 1, True),
        Column("units", "integer", "vectors; for `where` vectors with texts, for `which` orders of the list", 1),
        Column("wanted", "number", "what is planted, for `detection`; else what chance gives", 0, 1, True),
    ),
)
