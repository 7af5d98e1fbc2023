"""The result file of the verdict."""

from introspection.tables import Column, Table

VERDICT = Table(
    "verdict.csv",
    "Each objection to calling a model's answer a report of what was injected, its test, and whether the model passes.",
    ("test",),
    (
        Column("order", "integer", "1 for the test that is asked first", 1),
        Column("test", "text", "a key of data/objections.yaml"),
        Column("measured", "text", "what the number is, and its unit"),
        Column("number", "number", "the number that decides", may_be_empty=True),
        Column("low", "number", "the lower end of its interval", may_be_empty=True),
        Column("high", "number", "the upper end of its interval", may_be_empty=True),
        Column("resampled", "text", "the unit that was resampled for the interval, or what it is the interval of"),
        Column("rule", "text", "what it takes to pass, by params.yaml"),
        Column("passed", "truth", "whether the model passes"),
    ),
)
